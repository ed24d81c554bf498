local t = require "carteiro.test"
t.case("loads", function() t.ok(true) end)
