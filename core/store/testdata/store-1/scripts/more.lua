-- a policy more
on("receive.mail", function() end)
