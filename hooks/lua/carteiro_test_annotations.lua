---@meta carteiro.test
-- The library of test files, for editors that speak LuaLS. Written by
-- `carteiro scripts meta`; `carteiro help policies` tells what each does.

---@class carteiro.reply
---@field code number
---@field enhanced string|nil
---@field text string

---@class carteiro.session: carteiro.reply
---@field id string
---@field helo fun(self: carteiro.session, name: string): carteiro.reply
---@field mail fun(self: carteiro.session, sender: string, params?: table): carteiro.reply
---@field rcpt fun(self: carteiro.session, address: string, params?: table): carteiro.reply
---@field data fun(self: carteiro.session, message?: string|table): carteiro.reply
---@field auth fun(self: carteiro.session, user: string, password: string, mechanism?: string): carteiro.reply
---@field rset fun(self: carteiro.session): carteiro.reply
---@field quit fun(self: carteiro.session): carteiro.reply

---@class carteiro.letter
---@field sender string
---@field to string[]
---@field subject string
---@field headers table<string, string>
---@field body string
---@field text string
---@field raw string

---@class carteiro.report: carteiro.reply
---@field id string
---@field recipients string[]
---@field refused table<string, carteiro.reply>
---@field mailboxes table<string, table<string, number>>
---@field sent carteiro.letter[]
---@field submitted carteiro.letter[]
---@field dsns carteiro.letter[]
---@field trail table[]
---@field errors string[]

---@class carteiro.test
local t = { clock = {} }

---@overload fun(name: string, fn: fun())
---@param name string
---@param options { smoke?: boolean, tags?: string[] }
---@param fn fun()
function t.case(name, options, fn) end

---@param options? table
---@return carteiro.session
function t.session(options) end

---@param options table
---@return carteiro.report
function t.deliver(options) end

---@return carteiro.report
function t.settle() end

---@param address string
---@param folder? string
---@return carteiro.letter[]
function t.mailbox(address, folder) end

---@return carteiro.letter[]
function t.sent() end

---@return carteiro.letter[]
function t.submitted() end

---@return table[]
function t.requests() end

---@return string[]
function t.log() end

---@param request table
---@return { status: number, type: string, body: string, headers: table<string, string> }
function t.web(request) end

---@param command table
---@return { type: string, body: string, error: string|nil }
function t.command(command) end

---@param name string
---@return string
function t.file(name) end

---@param raw string
---@return string
function t.decrypt(raw) end

---@param names table<string, table>
function t.dns(names) end

---@param answers table<string, table|string>
function t.http(answers) end

---@param answers table<string, table|string>
function t.milter(answers) end

---@param answers table<string, number|table>
function t.remote(answers) end

---@param what string
---@param how? string
function t.fail(what, how) end

---@param limits { instructions?: number, wall?: number|string, alloc?: number|string, recipients?: number, submits?: number }
function t.limit(limits) end

---@param values table<string, any>
function t.config(values) end

---@param address string
---@param settings? table<string, any>
---@param options? { confirmed?: boolean }
function t.account(address, settings, options) end

---@param address string
---@param targets string|string[]
function t.alias(address, targets) end

---@param owner string
---@param delegate string
---@param right string
function t.grant(owner, delegate, right) end

---@param name string
function t.domain(name) end

---@param address string
---@param kind "openpgp"|"smime"
---@param options? { expires?: number|string }
function t.key(address, kind, options) end

---@param got any
---@param want any
---@param note? string
function t.eq(got, want, note) end

---@param got any
---@param other any
---@param note? string
function t.ne(got, other, note) end

---@generic T
---@param v T
---@param note? string
---@return T
function t.ok(v, note) end

---@param all table|string
---@param one any
---@param note? string
function t.contains(all, one, note) end

---@param all table|string
---@param one any
---@param note? string
function t.lacks(all, one, note) end

---@param text string
---@param pattern string
---@param note? string
function t.matches(text, pattern, note) end

---@param fn fun()
---@param pattern? string
---@return any
function t.fails(fn, pattern) end

---@param report? carteiro.report
---@return string[]
function t.errors(report) end

---@param report? carteiro.report
function t.no_errors(report) end

---@param duration number|string
function t.clock.advance(duration) end

---@param time number|string
function t.clock.set(time) end

---@return number
function t.clock.now() end

return t
