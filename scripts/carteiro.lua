---@meta
-- What Carteiro's policies may use, for editors that speak LuaLS. Written by
-- `carteiro scripts meta`; the server does not read it.

---what a handler returns; the functions that make one are those of its hook
---@class verdict

---ends this tier and those below; at receive.auth it says who logged in
---@param identity? table|string
---@return verdict
function accept(identity) end

---refuses for good, 550 5.7.1 by default
---@overload fun(text?: string): verdict
---@overload fun(code: number, text: string): verdict
---@param code number
---@param enhanced string
---@param text string
---@return verdict
function reject(code, enhanced, text) end

---refuses for now, 451 4.7.1 by default
---@overload fun(text?: string): verdict
---@overload fun(code: number, text: string): verdict
---@param code number
---@param enhanced string
---@param text string
---@return verdict
function defer(code, enhanced, text) end

---421, then the connection ends
---@param text? string
---@return verdict
function disconnect(text) end

---takes the mail and drops it
---@param reason string
---@return verdict
function discard(reason) end

---bad content, kept apart until an admin releases it
---@param reason string
---@return verdict
function quarantine(reason) end

---kept in the queue until an operator releases it
---@param reason string
---@return verdict
function hold(reason) end

---first try not before that time
---@param time number
---@return verdict
function schedule(time) end

---into the default folder
---@param flags? string|string[]
---@return verdict
function keep(flags) end

---into that folder
---@param folder string
---@param flags? string|string[]
---@return verdict
function fileinto(folder, flags) end

---to another address instead
---@param address string
---@return verdict
function redirect(address) end

---the next hop; tls is "may", "verify" or "none". Without hosts, those of the configuration or the MX records stay, with their order and the server's checks, and source, tls, user, password and port apply to them
---@param options { hosts?: string|string[], port?: number, tls?: "may"|"verify"|"none", lmtp?: any, source?: string, user?: any, ttl?: string|number }
---@return verdict
function route(options) end

---as route, for what is already queued
---@param options { hosts?: string|string[], port?: number, tls?: "may"|"verify"|"none", lmtp?: any, source?: string, user?: any, ttl?: string|number }
---@return verdict
function reroute(options) end

---tries again after that time
---@param seconds string|number
---@return verdict
function retry(seconds) end

---gives up; a DSN says why
---@param text string
---@return verdict
function fail(text) end

---no DSN for this outcome
---@return verdict
function nodsn() end

---the answer to an HTTP request, or to a command: there the type is text/plain by default, and a status of 400 or more is a failure whose text is the body
---@param options { status?: number, type?: string, body?: any, headers?: table }
---@return verdict
function response(options) end

---raises message unless v is true; returns its arguments
---@param v any
---@param message? any
---@return any
function assert(v, message) end

---raises an error
---@param message any
---@param level? number
function error(message, level) end

---tables only
---@param table any
---@return table|nil
function getmetatable(table) end

---iterates 1, 2, ... up to the first nil
---@param list table
---@return function, table, number
function ipairs(list) end

---the next key and value
---@param table table
---@param key? any
---@return any, any
function next(table, key) end

---iterates all keys; takes meta and config too
---@param table table
---@return function, table, nil
function pairs(table) end

---calls f, turns errors into false and the error; cannot catch an exhausted budget
---@param f any
---@param ... any
---@return boolean, any
function pcall(f, ...) end

---log.info of the arguments
---@param ... any
function print(...) end

---compares without metamethods
---@param a any
---@param b any
---@return boolean
function rawequal(a, b) end

---reads without metamethods
---@param table table
---@param key any
---@return any
function rawget(table, key) end

---writes without metamethods; tables only
---@param table table
---@param key any
---@param value any
---@return table
function rawset(table, key, value) end

---arguments from n on, or with '#' their number
---@param n number|string
---@param ... any
---@return any
function select(n, ...) end

---tables only
---@param table table
---@param metatable table|nil
---@return table
function setmetatable(table, metatable) end

---a number or nil
---@param v any
---@param base? number
---@return number|nil
function tonumber(v, base) end

---text of any value
---@param v any
---@return string
function tostring(v) end

---name of the type
---@param v any
---@return string
function type(v) end

---the elements as results
---@param list table
---@param i? number
---@param j? number
---@return any
function unpack(list, i, j) end

---the results of f(...), run with a part of the budget, or nil and "budget" when that is used up: then f ends, and the handler goes on
---@param instructions number
---@param f function
---@param ... any
---@return any, any
function within(instructions, f, ...) end

---as pcall; handler makes the error
---@param f any
---@param handler any
---@return boolean, any
function xpcall(f, handler) end

---registers a handler
---@overload fun(hook: "receive.connect", handler: fun(session: session))
---@overload fun(hook: "receive.connect", options: table, handler: fun(session: session))
---@overload fun(hook: "receive.helo", handler: fun(session: session, name: string))
---@overload fun(hook: "receive.helo", options: table, handler: fun(session: session, name: string))
---@overload fun(hook: "receive.auth", handler: fun(session: session, cred: cred))
---@overload fun(hook: "receive.auth", options: table, handler: fun(session: session, cred: cred))
---@overload fun(hook: "receive.mail", handler: fun(session: session, tx: tx))
---@overload fun(hook: "receive.mail", options: table, handler: fun(session: session, tx: tx))
---@overload fun(hook: "receive.rcpt", handler: fun(session: session, tx: tx, rcpt: rcpt))
---@overload fun(hook: "receive.rcpt", options: table, handler: fun(session: session, tx: tx, rcpt: rcpt))
---@overload fun(hook: "receive.headers", handler: fun(session: session, tx: tx, msg: msg))
---@overload fun(hook: "receive.headers", options: table, handler: fun(session: session, tx: tx, msg: msg))
---@overload fun(hook: "receive.data", handler: fun(session: session, tx: tx, msg: msg))
---@overload fun(hook: "receive.data", options: table, handler: fun(session: session, tx: tx, msg: msg))
---@overload fun(hook: "queue.expand", handler: fun(msg: msg, rcpt: rcpt))
---@overload fun(hook: "queue.expand", options: table, handler: fun(msg: msg, rcpt: rcpt))
---@overload fun(hook: "queue.commit", handler: fun(msg: msg, group: group))
---@overload fun(hook: "queue.commit", options: table, handler: fun(msg: msg, group: group))
---@overload fun(hook: "route.resolve", handler: fun(domain: string|nil, key: string))
---@overload fun(hook: "route.resolve", options: table, handler: fun(domain: string|nil, key: string))
---@overload fun(hook: "deliver.attempt", handler: fun(msg: msg, group: group, attempt: attempt))
---@overload fun(hook: "deliver.attempt", options: table, handler: fun(msg: msg, group: group, attempt: attempt))
---@overload fun(hook: "deliver.local", handler: fun(msg: msg, rcpt: rcpt, box: box))
---@overload fun(hook: "deliver.local", options: table, handler: fun(msg: msg, rcpt: rcpt, box: box))
---@overload fun(hook: "deliver.result", handler: fun(msg: msg, rcpt: rcpt, result: result))
---@overload fun(hook: "deliver.result", options: table, handler: fun(msg: msg, rcpt: rcpt, result: result))
---@overload fun(hook: "deliver.dsn", handler: fun(msg: msg, rcpts: rcpt[], dsn: dsn))
---@overload fun(hook: "deliver.dsn", options: table, handler: fun(msg: msg, rcpts: rcpt[], dsn: dsn))
---@overload fun(hook: "observe.event", handler: fun(event: event))
---@overload fun(hook: "observe.event", options: table, handler: fun(event: event))
---@overload fun(hook: "timer.tick", handler: fun(now: number, domain: string|nil))
---@overload fun(hook: "timer.tick", options: table, handler: fun(now: number, domain: string|nil))
---@overload fun(hook: "web.request", handler: fun(req: req))
---@overload fun(hook: "web.request", options: table, handler: fun(req: req))
---@overload fun(hook: "admin.command", handler: fun(cmd: cmd))
---@overload fun(hook: "admin.command", options: table, handler: fun(cmd: cmd))
---@param hook string
---@param options table|function
---@param handler? function
function on(hook, options, handler) end

---at receive.*: the reply to the client waits that long, 30 s at most; nobody else does
---@param seconds string|number
function tarpit(seconds) end

---what fn returns, run with that domain at hand: its settings, kv, rate and meta; "" is the server as a whole
---@param domain string
---@param fn function
---@return any
function for_domain(domain, fn) end

---runs a file of the same source once and returns its value
---@param name string
---@return any
function require(name) end

---addresses
addr = {}

---address and display name of the first mailbox in a header value, or nil
---@param text string
---@return string|nil, string|nil
function addr.parse(text) end

---all mailboxes of a header value: a list of { address, display }
---@param text string
---@return { address: string, display: string }[]
function addr.list(text) end

---local part without its tag
---@param address string
---@return string
function addr.user(address) end

---domain in lower case
---@param address string
---@return string
function addr.domain(address) end

---what follows the "+", or nil
---@param address string
---@return string|nil
function addr.tag(address) end

---canonical form without tag, in lower case, or nil
---@param address string
---@return string|nil
function addr.normalize(address) end

---organizational domain by the public suffix list
---@param domain string
---@return string
function addr.org_domain(domain) end

---signed sender of ours for a forwarded message, at one of our domains or the server's name; mail with the null sender to it goes to the sender, for 21 days. Own and null senders, and those too long for it, stay
---@param sender string
---@param domain? string
---@return string
function addr.srs(sender, domain) end

---the sender behind a signed one, or nil when forged or older than 21 days
---@param address string
---@return string|nil
function addr.srs_reverse(address) end

---signed bounce address that names its recipient: BOUNCES+user=domain=SIGN
---@param bounces string
---@param address string
---@return string
function addr.verp(bounces, address) end

---the recipient that a bounce address names, or nil when forged
---@param address string
---@return string|nil
function addr.verp_reverse(address) end

---sends mail; it is queued in the commit of the message at hand, exactly once. At most 10 in a call
mail = {}

---a new message; with text and html it has both forms; copy puts one into that folder of from's mailbox here; auto is "auto-generated" (default) or "auto-replied"; to and cc are addresses or lists; raw is a whole message
---@param options { sender?: string, from?: string, to?: string|string[], cc?: string|string[], subject?: string, text?: string, html?: string, raw?: string, headers?: table, auto?: "auto-replied"|"auto-generated", in_reply_to?: msg, copy?: string }
function mail.submit(options) end

---a copy of the message at hand into a folder of a mailbox here, once and whatever else the mailbox gets; no policy is asked about it
---@param msg msg
---@param address string
---@param folder string
---@param flags? string|string[]
function mail.file(msg, address, folder, flags) end

---the message at hand to another address; srs rewrites the sender
---@param msg msg
---@param address string
---@param options? { srs?: any, headers?: table }
function mail.forward(msg, address, options) end

---accounts of this server
account = {}

---whether there is an account
---@param address string
---@return boolean
function account.exists(address) end

---what `carteiro account set` stored, or nil
---@param address string
---@param name string
---@return any
function account.setting(address, name) end

---whether the admin set that setting with --confirmed: whoever it names has agreed
---@param address string
---@param name string
---@return boolean
function account.confirmed(address, name) end

---one step: "mailbox" and its address, "alias" and the list of its targets, "foreign" for other domains, or nil when nobody has it
---@param address string
---@return string|nil, string|string[]|nil
function account.resolve(address) end

---nil, "as" or "behalf"
---@param identity string
---@param address string
---@return string|nil
function account.may_send_as(identity, address) end

---the account whose password this is, or nil; wrong guesses make the next ones wait
---@param name string
---@param password string
---@return string|nil
function account.login(name, password) end

---gives a right until a time, or without end: at once, and whatever becomes of the handler; true, or nil and what is wrong
---@param owner string
---@param delegate string
---@param right string
---@param until_? number
---@return boolean|nil, string|nil
function account.grant(owner, delegate, right, until_) end

---takes a right back, or all of them, in the same way
---@param owner string
---@param delegate string
---@param right? string
---@return boolean|nil, string|nil
function account.revoke(owner, delegate, right) end

---list of { delegate, right, until } that an owner gave
---@param owner string
---@return { delegate: string, right: string, until: number|nil }[]
function account.granted(owner) end

---adds to the record of what others did in the owner's name, which `carteiro account audit` prints
---@param owner string
---@param entry { who?: string, action?: string, as?: string, right?: string, message_id?: string, message?: string, ip?: string }
function account.audit(owner, entry) end

---list of such entries with their time and the bundle that wrote them (by), the newest first; 100 by default, 1000 at most
---@param owner string
---@param limit? number
---@return table[]
function account.audited(owner, limit) end

---whether the address is the account's own: its name, with any tag, or an alias that leads to it; a catch-all does not count
---@param account string
---@param address string
---@return boolean
function account.owns(account, address) end

---the account that an address stands for, be it with a tag or an alias of that account alone, or nil
---@param address string
---@return string|nil
function account.of(address) end

---this server, as others see it
server = {}

---its name
---@return string
function server.hostname() end

---where the world reaches this bundle's web.request: the URL of /b/BUNDLE and the path
---@param path? string
---@return string|nil
function server.url(path) end

---whether mail for the domain ends here, and this bundle is in force for it; second, whether mail for it ends here at all. What account, list and crypt tell, they tell of domains of ours with the first alone
---@param domain string
---@return boolean, boolean
function server.is_local(domain) end

---signature over a text, 32 hexadecimal digits that only this server can make, others for each bundle
---@param text string
---@return string
function server.sign(text) end

---named sets of addresses with settings, and attributes for each member. Changes count as those of kv do
list = {}

---names of all lists, or of those at a domain
---@param domain? string
---@return string[]
function list.names(domain) end

---makes a list or gives it other settings; nil takes it away with its members
---@param name string
---@param settings? table
function list.configure(name, settings) end

---the settings of that list, or nil when there is none
---@param name string
---@return table|nil
function list.settings(name) end

---list of its addresses; filter is a table of attributes that they must have
---@param name string
---@param filter? table
---@return string[]
function list.members(name, filter) end

---as members, but a list of tables: the attributes, and address
---@param name string
---@param filter? table
---@return table[]
function list.roster(name, filter) end

---attributes of a member, or nil
---@param name string
---@param address? string
---@return table|nil
function list.member(name, address) end

---makes it a member, with these attributes
---@param name string
---@param address string
---@param attributes? table
function list.add(name, address, attributes) end

---takes it out
---@param name string
---@param address string
function list.remove(name, address) end

---changes attributes of a member; true, or false when it is none
---@param name string
---@param address string
---@param attributes? table
---@return boolean
function list.set(name, address, attributes) end

---keeps the message at hand for that list until it is released or dropped; about is a table that held returns too. The recipient itself is to be discarded
---@param name string
---@param msg msg
---@param about? table
---@return any
function list.hold(name, msg, about) end

---list of what is held: { id, from, sender, subject, size, at, ... }, or the one of that id, or nil
---@param name string
---@param id? string
---@return table|nil
function list.held(name, id) end

---has a held message pass queue.expand again, with rcpt.released; false when it is not held
---@param name string
---@param id string
---@return boolean
function list.release(name, id) end

---drops a held message without a report; false when it is not held
---@param name string
---@param id string
---@return boolean
function list.drop(name, id) end

---stored plain data, apart for each bundle and domain. Writes count when the handler returns; near a message they travel in its commit. At most 200 operations in a call
kv = {}

---the value or nil; sees own writes
---@param key string
---@return any
function kv.get(key) end

---stores a value
---@param key string
---@param value any
---@param options? { ttl?: string|number }
function kv.set(key, value, options) end

---true for the first that asks, then false until ttl is over
---@param key string
---@param options? { ttl?: string|number }
---@return boolean
function kv.once(key, options) end

---adds n, 1 by default, and returns the sum as seen now
---@overload fun(key: string, n?: number, options?: { ttl?: string|number }): number
---@param key string
---@param options { ttl?: string|number }
---@return number
function kv.incr(key, options) end

---forgets a key
---@param key string
function kv.delete(key) end

---stores new if the value still is old (nil: absent); whether it was, as seen now
---@param key string
---@param old any
---@param new any
---@param options? { ttl?: string|number }
---@return boolean
function kv.cas(key, old, new, options) end

---list of { key, value } in the order of keys, at most 1000
---@param prefix string
---@param limit? number
---@return { key: string, value: any }[]
function kv.scan(prefix, limit) end

---rate limits (GCRA), apart for each bundle and domain; what a failed handler took is given back
rate = {}

---whether it may happen now, seconds to wait if not, and how many more may follow at once
---@param key string
---@param rate string
---@param options? { burst?: number, cost?: number }
---@return boolean, number, number
function rate.take(key, rate, options) end

---results shared by all interpreters of a generation
cache = {}

---fn with its results remembered, 5 minutes and 1000 of them by default; one call at a time per key. Results are plain data
---@param fn function
---@param options? { ttl?: string|number, size?: number }
---@return function
function cache.memoize(fn, options) end

---look-up files of the source; part of the generation
map = {}

---a map of a .toml, .cidr, .domains or .regex file; at the top of a file only
---@param file string
---@return map
function map.open(file) end

---DNS questions, at most 50 in a call: a list, or nil and "nxdomain", "timeout" or "servfail"
dns = {}

---IPv4 addresses
---@param name string
---@return string[]|nil, string|nil
function dns.a(name) end

---IPv6 addresses
---@param name string
---@return string[]|nil, string|nil
function dns.aaaa(name) end

---list of { host, preference }, the most preferred first
---@param name string
---@return { host: string, preference: number }[]|nil, string|nil
function dns.mx(name) end

---texts
---@param name string
---@return string[]|nil, string|nil
function dns.txt(name) end

---names of an address
---@param ip string
---@return string[]|nil, string|nil
function dns.ptr(ip) end

---the codes under which a block list knows an address, or nil
---@param ip string
---@param zone string
---@return string[]|nil, string|nil
function dns.rbl(ip, zone) end

---asks all at once; a list with, for each, the answer's list or the error's text
---@param questions table
---@return table
function dns.batch(questions) end

---HTTP requests to the hosts that were granted (for scripts by `[scripts] http`, for bundles by their manifest), at most 5 in a call. Only public addresses are connected to, unless the grant is an address or ends in " private". Options: headers, type (of the body), timeout. Redirects are answers, not followed. A request cannot be taken back when the handler fails or the message is tried again: its Idempotency-Key then is the same
http = {}

---{ status, headers, body }, or nil and "timeout", "tls" or "unreachable", or, for a host that was not granted as private and has no public address, what to write; names of headers in lower case, a body of at most 1 MiB
---@param url string
---@param options? { headers?: table, timeout?: string|number }
---@return { status: number, headers: table, body: string }|nil, string|nil
function http.get(url, options) end

---as get; a table as body is sent as JSON
---@param url string
---@param body? string|table
---@param options? { headers?: table, type?: string, timeout?: string|number }
---@return { status: number, headers: table, body: string }|nil, string|nil
function http.post(url, body, options) end

---all at once; a list with, for each, the answer or the error's text
---@param requests table
---@return table
function http.batch(requests) end

---mail filters of the configuration's [milter.NAME], at most 5 questions in a call. A filter that does not answer fails the handler
milter = {}

---"accept", "reject", "defer", "discard" or "quarantine", and what it wants changed: a list of { op, name, value, index } with op add_header, insert_header, change_header, replace_body, add_rcpt, remove_rcpt or change_sender; code, enhanced and text of the list are its reply, reason that of a quarantine
---@param name string
---@param msg msg
---@return string|nil, any
function milter.scan(name, msg) end

---signatures, and messages encrypted to keys of addresses (`carteiro key add`)
crypt = {}

---at receive.data, or of a fork or variant: when all handlers have run, the message is encrypted to the OpenPGP key of that address (RFC 3156). true, or nil and why it will not be: "encrypted" (it is already; it stays as it is), "report" (a delivery status notification stays readable), "no key", "expired", "revoked", "unusable", "unreadable", "too large"
---@param msg msg
---@param account string
---@param options? { hide_subject?: boolean }
---@return boolean|nil, string|nil
function crypt.openpgp(msg, account, options) end

---the same with the S/MIME certificate of that address (RFC 8551), for messages of up to 32 MiB
---@param msg msg
---@param account string
---@param options? { hide_subject?: boolean }
---@return boolean|nil, string|nil
function crypt.smime(msg, account, options) end

---"openpgp" or "smime", what to encrypt with for that address, or nil; where that key cannot be used now, the reason comes second
---@param account string
---@return string|nil
function crypt.has_key(account) end

---at receive.data, or of a fork: a DKIM signature (RFC 6376) of that domain's keys, made when all handlers have run; mail of users and policies gets one of its author's domain anyhow
---@param msg msg
---@param options { domain?: string, selector?: string }
---@return any
function crypt.sign_dkim(msg, options) end

---a model of wanted and unwanted mail that learns from what it is taught, for the site and for each account. Changes count as those of kv do
spam = {}

---teaches the site, or that account, the message, or a part of type message/rfc822; twice is once, and the last word counts. false and "too complex" for one that is made to cost too much
---@param msg msg|part
---@param class "spam"|"ham"
---@param account? string
---@return boolean, string|nil
function spam.learn(msg, class, account) end

---as if the message had never been taught
---@param msg msg|part
---@param account? string
---@return boolean, string|nil
function spam.unlearn(msg, account) end

---probability, 0 to 1, that the message is spam; 0.5 while nothing was taught, nil and "too complex" for one that is made to cost too much
---@param msg msg|part
---@param account? string
---@return number|nil, string|nil
function spam.classify(msg, account) end

---share of the text, 0.3 to 1, that the message has in common with the nearest of the messages that were taught, and what that one was taught as, "spam" or "ham"; nil where none is near or the text has few words, nil and "too complex" for one that is made to cost too much. Knows the copies of a message as soon as one of them was taught, although words were changed
---@param msg msg|part
---@param account? string
---@return number|nil, string|nil
function spam.similar(msg, account) end

---texts that stand outside of the scripts, in files or the environment, as the configuration says
secrets = {}

---the secret that the manifest declares by that name; it is read again after a reload
---@param name string
---@return string
function secrets.get(name) end

---regular expressions in RE2's syntax, matched in linear time
re = {}

---a regex
---@param pattern string
---@return regex
function re.compile(pattern) end

---several at once
---@param patterns string|string[]
---@return regex_set
function re.set(patterns) end

---JSON (RFC 8259). Strings pass octets above 127 as they are; null is nil
json = {}

---plain data as JSON; keys in order; an empty table is {}
---@param v any
---@return string
function json.encode(v) end

---the value, or nil and what is wrong
---@param text string
---@return any, string|nil
function json.decode(text) end

---TOML 1.0
toml = {}

---a table with names as TOML; keys in order
---@param table table
---@return string
function toml.encode(table) end

---the table, or nil and what is wrong; dates are texts
---@param text string
---@return table|nil, string|nil
function toml.decode(text) end

---base64 (RFC 4648)
base64 = {}

---with padding
---@param s string
---@return string
function base64.encode(s) end

---both alphabets, padding optional; nil and what is wrong
---@param s string
---@return string|nil, string|nil
function base64.decode(s) end

---hexadecimal digits
hex = {}

---lower case
---@param s string
---@return string
function hex.encode(s) end

---nil and what is wrong
---@param s string
---@return string|nil, string|nil
function hex.decode(s) end

---digests
hash = {}

---hexadecimal SHA-256
---@param s string
---@return string
function hash.sha256(s) end

---hexadecimal HMAC-SHA-256
---@param key string
---@param s string
---@return string
function hash.hmac(key, s) end

---CRC-32 (IEEE) as a number
---@param s string
---@return number
function hash.crc32(s) end

---random ids
uuid = {}

---a random UUID (version 4)
---@return string
function uuid.new() end

---times are Unix seconds
time = {}

---the time of this call
---@return number
function time.now() end

---text of a time; layout "rfc3339" (default), "rfc5322", "date" or like "%Y-%m-%d %H:%M:%S"; zone like "Europe/Lisbon", UTC by default
---@param t number
---@param layout? string
---@param zone? string
---@return string
function time.format(t, layout, zone) end

---Unix seconds of an RFC 3339 or RFC 5322 time or a date, or nil
---@param s string
---@param zone? string
---@return number|nil
function time.parse(s, zone) end

---numbers at /metrics, as carteiro_script_policy_NAME or carteiro_bundle_policy_PUBLISHER_BUNDLE_NAME; they count when the handler returns. Names and labels are lower case letters, digits and _, 4 labels at most; a name has 100 different sets of values, all others count as "other"
metrics = {}

---adds n, 1 by default; _total is added to the name
---@overload fun(name: string, n?: number, labels?: table)
---@param name string
---@param labels table
function metrics.counter(name, labels) end

---sets a value
---@param name string
---@param value number
---@param labels? table
function metrics.gauge(name, value, labels) end

---adds one observation; seconds and octets fit its buckets
---@param name string
---@param value number
---@param labels? table
function metrics.histogram(name, value, labels) end

---the server's log
log = {}

---a line with fields, a table of plain data
---@param text any
---@param fields? table
function log.debug(text, fields) end

---a line with fields
---@param text any
---@param fields? table
function log.info(text, fields) end

---a line with fields
---@param text any
---@param fields? table
function log.warn(text, fields) end

---a line with fields
---@param text any
---@param fields? table
function log.error(text, fields) end

---Lua 5.1's string functions, byte-exact and budgeted
string = {}

---numbers of the octets i to j
---@param s string
---@param i? number
---@param j? number
---@return number|nil
function string.byte(s, i, j) end

---a string of these octets
---@param ... number
---@return string
function string.char(...) end

---start and end of the first match, and its captures
---@param s string
---@param pattern string
---@param init? number
---@param plain? any
---@return number|nil, number|nil, any
function string.find(s, pattern, init, plain) end

---as C's printf: c d i o u x X e E f g G q s %
---@param f string
---@param ... any
---@return string
function string.format(f, ...) end

---iterates all matches
---@param s string
---@param pattern string
---@return function
function string.gmatch(s, pattern) end

---replaces matches by text, table or function
---@param s string
---@param pattern string
---@param repl string|table|function
---@param n? number
---@return string, number
function string.gsub(s, pattern, repl, n) end

---octets of s
---@param s string
---@return number
function string.len(s) end

---ASCII letters in lower case
---@param s string
---@return string
function string.lower(s) end

---captures of the first match
---@param s string
---@param pattern string
---@param init? number
---@return any
function string.match(s, pattern, init) end

---s, n times
---@param s string
---@param n number
---@return string
function string.rep(s, n) end

---octets backwards
---@param s string
---@return string
function string.reverse(s) end

---octets i to j
---@param s string
---@param i number
---@param j? number
---@return string
function string.sub(s, i, j) end

---ASCII letters in upper case
---@param s string
---@return string
function string.upper(s) end

---Lua 5.1's table functions, budgeted
table = {}

---the elements as one string
---@param t table
---@param sep? string
---@param i? number
---@param j? number
---@return string
function table.concat(t, sep, i, j) end

---puts v at pos or at the end
---@overload fun(t: table, v: any)
---@param t table
---@param pos number
---@param v any
function table.insert(t, pos, v) end

---the largest positive numeric key
---@param t table
---@return number
function table.maxn(t) end

---takes out and returns the element at pos or the last one
---@param t table
---@param pos? number
---@return any
function table.remove(t, pos) end

---sorts in place; not stable
---@param t table
---@param less? function
function table.sort(t, less) end

---Lua 5.1's math functions
math = {}

---as in C
---@param x number
---@return number
function math.abs(x) end

---as in C
---@param x number
---@return number
function math.acos(x) end

---as in C
---@param x number
---@return number
function math.asin(x) end

---as in C
---@param x number
---@return number
function math.atan(x) end

---as in C
---@param x number
---@return number
function math.ceil(x) end

---as in C
---@param x number
---@return number
function math.cos(x) end

---as in C
---@param x number
---@return number
function math.cosh(x) end

---as in C
---@param x number
---@return number
function math.deg(x) end

---as in C
---@param x number
---@return number
function math.exp(x) end

---as in C
---@param x number
---@return number
function math.floor(x) end

---as in C
---@param x number
---@return number
function math.log(x) end

---as in C
---@param x number
---@return number
function math.log10(x) end

---as in C
---@param x number
---@return number
function math.rad(x) end

---as in C
---@param x number
---@return number
function math.sin(x) end

---as in C
---@param x number
---@return number
function math.sinh(x) end

---as in C
---@param x number
---@return number
function math.sqrt(x) end

---as in C
---@param x number
---@return number
function math.tan(x) end

---as in C
---@param x number
---@return number
function math.tanh(x) end

---as in C
---@param x number
---@param y number
---@return number
function math.atan2(x, y) end

---as in C
---@param x number
---@param y number
---@return number
function math.fmod(x, y) end

---as in C
---@param x number
---@param y number
---@return number
function math.pow(x, y) end

---mantissa and exponent
---@param x number
---@return number, number
function math.frexp(x) end

---m times 2 to the power of e
---@param m number
---@param e number
---@return number
function math.ldexp(m, e) end

---the largest
---@param x number
---@param ... number
---@return number
function math.max(x, ...) end

---the smallest
---@param x number
---@param ... number
---@return number
function math.min(x, ...) end

---integral and fractional part
---@param x number
---@return number, number
function math.modf(x) end

---a number in [0,1), or an integer from 1 to m, or from m to n
---@overload fun(): number
---@overload fun(m: number): number
---@param m number
---@param n number
---@return number
function math.random(m, n) end
---constant
math.huge = nil ---@type number
---constant
math.pi = nil ---@type number

---one client connection; it outlives the socket
---@class session
local session = {}
---its id
session.id = nil ---@type string
---name of the listener
session.listener = nil ---@type string
---address of the client
session.ip = nil ---@type string
---its /24 or /64
session.ip_net = nil ---@type string
---verified name of the client, or nil
session.rdns = nil ---@type string|nil
---what HELO, EHLO or LHLO gave, or nil
session.helo = nil ---@type string|nil
---nil, or version, cipher, sni and subject
session.tls = nil ---@type tls|nil
---nil, or user and what accept(identity) gave
session.identity = nil ---@type identity|nil
---"smtp", "submission", "lmtp" or "pop3"
session.protocol = nil ---@type string
---true for clients that may relay without AUTH
session.trusted = nil ---@type boolean
---true when the client has gone
session.closed = nil ---@type boolean
---notes of policies, for this session
session.meta = nil ---@type meta

---the encrypted connection
---@class tls
local tls = {}
---"TLS1.3"
tls.version = nil ---@type string
---cipher suite
tls.cipher = nil ---@type string
---the name the client asked for, or nil
tls.sni = nil ---@type string|nil
---of a verified client certificate, or nil
tls.subject = nil ---@type string|nil

---who logged in: user, and every key that accept(identity) gave
---@class identity
local identity = {}

---a login attempt, after the server looked at its own accounts
---@class cred
local cred = {}
---"PLAIN", "LOGIN", "USER", "APOP", ...
cred.mechanism = nil ---@type string
---the name given
cred.user = nil ---@type string
---whether the server's own account matched
cred.verified = nil ---@type boolean
---the account whose mailbox or identity this is for, or nil where nothing matched
cred.account = nil ---@type string|nil
---the account that really logs in, where it is not that one, as owner*delegate at POP3; else nil
cred.delegate = nil ---@type string|nil
---of OAUTHBEARER and XOAUTH2, else nil; nil for bundles without the right passwords
cred.token = nil ---@type string|nil
---nil where the mechanism does not show it, and for bundles without the right passwords
cred.password = nil ---@type string|nil

---the mail transaction while the client builds it
---@class tx
local tx = {}
---id of the message to be
tx.id = nil ---@type string
---envelope sender; "" is the null sender
tx.sender = nil ---@type string
---parameters of MAIL
tx.params = nil ---@type params
---notes of policies, for this transaction
tx.meta = nil ---@type meta

---list of rcpt, those accepted so far; a policy of a domain sees that domain's, or all where a user of it sends
---@return rcpt[]
function tx:recipients() end

---parameters of MAIL
---@class params
local params = {}
---declared octets or nil
params.size = nil ---@type number|nil
---"7BIT", "8BITMIME", "BINARYMIME" or nil
params.body = nil ---@type string|nil
---true or false
params.smtputf8 = nil ---@type boolean
---decoded ENVID or nil
params.envid = nil ---@type string|nil
---"FULL", "HDRS" or nil
params.ret = nil ---@type string|nil
---seconds of DELIVERBY or nil
params.by = nil ---@type number|nil
---time until which the client wants it held, or nil
params.hold_for = nil ---@type number|nil
---MT-PRIORITY or nil
params.priority = nil ---@type number|nil
---true or false
params.requiretls = nil ---@type boolean

---the message; it can be changed at receive.data, its header fields for one try at deliver.attempt too
---@class msg
local msg = {}
---id of the message
msg.id = nil ---@type string
---envelope sender; "" is the null sender
msg.sender = nil ---@type string
---octets
msg.size = nil ---@type number
---Unix seconds
msg.received_at = nil ---@type number
---the user who submitted it, or nil
msg.identity = nil ---@type string|nil
---whether a user who logged in sent it, a client that may relay, or a policy
msg.ours = nil ---@type boolean
---as this handler is asked about it: "in", mail to a domain of ours; "out", outgoing mail of a domain of ours (of a user who logged in, a policy or a list, whatever the client claims) and other mail that leaves; "within", both
msg.direction = nil ---@type "in"|"out"|"within"|nil
---notes of policies, kept with the message
msg.meta = nil ---@type meta

---unfolded value of the first field of that name, or nil
---@param name string
---@return string|nil
function msg:header(name) end

---list of all its values in order
---@param name string
---@return string[]
function msg:headers(name) end

---adds a field behind all others
---@param name string
---@param value string
function msg:add_header(name, value) end

---adds a field in front of all others
---@param name string
---@param value string
function msg:prepend_header(name, value) end

---replaces all fields of that name by one
---@param name string
---@param value string
function msg:set_header(name, value) end

---removes all fields of that name, returns how many
---@param name string
---@return number
function msg:remove_header(name) end

---decoded subject or nil
---@return string|nil
function msg:subject() end

---first address of From, or nil
---@return string|nil
function msg:from() end

---list of the addresses in all fields of these names, as From or To, at most 1000
---@param name string
---@param ... string
---@return string[]
function msg:addresses(name, ...) end

---its decoded display name, or nil
---@return string|nil
function msg:from_display() end

---Date as Unix seconds, or nil
---@return number|nil
function msg:date() end

---Message-ID with its brackets, or nil
---@return string|nil
function msg:message_id() end

---iterates the parts that hold content
---@return fun(): part
function msg:parts() end

---text of all text parts as UTF-8, HTML without its tags; at most max octets, 256 KiB by default
---@param max? number
---@return string
function msg:text(max) end

---the message as it is, header section and body; at most max octets, 256 KiB by default
---@param max? number
---@return string
function msg:raw(max) end

---puts a text at the end: below a plain text, else as a part of its own; what is signed or encrypted stays as it is; marks is a table: "%(NAME)" in the text becomes the value of NAME, or what a copy has in its fill
---@param text string
---@param marks? table
function msg:append_text(text, marks) end

---what a delivery status notification says: a list of { address, original, action, status, class, diagnostic }, class is "hard", "soft" or nil; nil for other mail
---@return table[]|nil
function msg:report() end

---first match of an RE2 pattern in subject and text, or nil
---@param re string
---@return string|nil
function msg:find(re) end

---list of the distinct http, https and mailto links, at most 500
---@return string[]
function msg:urls() end

---who the message really comes from: tables spf, dkim, dmarc, arc, each with result and domain, dmarc with policy, dkim with signatures, arc with the domain that sealed last; may ask the DNS
---@return { spf: table, dkim: table, dmarc: table, arc: table }
function msg:auth() end

---adds to the spam score; returns the total, which is kept with the message
---@overload fun(self: msg): number
---@param name string
---@param points number
---@param note? string
---@return number
function msg:score(name, points, note) end

---list of { name, points, note }, at receive.data
---@return { name: string, points: number, note: string }[]
function msg:scores() end

---sets and returns the priority, -9 to 9
---@param n? number
---@return number
function msg:priority(n) end

---null sender, a sender that is no person, Auto-Submitted, List-* or Precedence: not to be answered by a machine (RFC 3834); where the hook has a recipient, its own sender and fields count too
---@return boolean
function msg:is_auto() end

---whether To, Cc, Bcc or their Resent forms name it, with any tag, or an alias that leads to it (RFC 5230 4.5); a catch-all does not count
---@param address string
---@return boolean
function msg:addressed_to(address) end

---one part of a message that holds content
---@class part
local part = {}
---"text/plain", in lower case
part.type = nil ---@type string
---declared charset or nil
part.charset = nil ---@type string|nil
---decoded name without folders, or nil
part.filename = nil ---@type string|nil
---"inline", "attachment" or nil
part.disposition = nil ---@type string|nil
---octets as transferred
part.size = nil ---@type number

---content as UTF-8 text
---@param max? number
---@return string
function part:text(max) end

---content, transfer encoding undone
---@param max? number
---@return string
function part:bytes(max) end

---hexadecimal SHA-256 of the content
---@return string
function part:sha256() end

---text of the QR code in a picture (PNG, JPEG, GIF), or nil; pictures of more than 2 MiB or a million pixels are not looked at, nor more than two million in one call
---@return string|nil
function part:qr_code() end

---puts text in its place
---@param text string
function part:replace(text) end

---leaves an empty text in its place
function part:remove() end

---one recipient
---@class rcpt
local rcpt = {}
---where the mail goes; can be changed at receive.rcpt
rcpt.address = nil ---@type string
---as RCPT gave it
rcpt.orig = nil ---@type string
---envelope sender of what it gets: the message's, or what a policy chose for this recipient
rcpt.sender = nil ---@type string
---local part without its tag
rcpt.user = nil ---@type string
---domain in lower case
rcpt.domain = nil ---@type string
---what follows the "+", or nil
rcpt.tag = nil ---@type string|nil
---whether the domain is ours
rcpt.is_local = nil ---@type boolean
---whether list.release let the message go to it
rcpt.released = nil ---@type boolean
---list of NOTIFY keywords, or nil
rcpt.notify = nil ---@type string[]|nil
---decoded ORCPT, or nil
rcpt.orcpt = nil ---@type string|nil
---notes of policies, kept with the recipient; folder names the folder to file into
rcpt.meta = nil ---@type meta

---at queue.expand: other recipients instead of this one; how is a table { sender =, headers =, priority =, notify =, mailbox =, fill =, arc =, msg = } or a function(address) that returns one; with mailbox = true the mail is filed under that address as it is, with an account or without; fill is a table of texts for marks of msg:append_text; arc is a domain that seals what leaves (RFC 8617): it tells those after us what was found when the mail arrived; msg is a variant that they get
---@param list string|string[]
---@param how? table|function
function rcpt:replace(list, how) end

---at queue.expand: a msg of its own for this recipient and those that this hook adds for it; it can be changed as the msg of receive.data
---@return msg
function rcpt:fork() end

---at queue.expand: a msg of its own for those whose how names it (msg =) and nobody else; it can be changed as the msg of receive.data
---@return msg
function rcpt:variant() end

---other recipients beside this one
---@param addresses string|string[]
---@param how? table|function
function rcpt:copy_to(addresses, how) end

---in this recipient's copy only
---@param name string
---@param value string
function rcpt:set_header(name, value) end

---in this recipient's copy only, in front
---@param name string
---@param value string
function rcpt:add_header(name, value) end

---in this recipient's copy only
---@param name string
function rcpt:remove_header(name) end

---recipients of one message that share a next hop key
---@class group
local group = {}
---destination domain, or what a policy chose; can be changed at queue.commit
group.key = nil ---@type string
---domain of the recipients
group.domain = nil ---@type string
---whether it goes to mailboxes here
group.is_local = nil ---@type boolean
---notes of policies, kept with the group
group.meta = nil ---@type meta

---list of addresses
---@return string[]
function group:recipients() end

---sets and returns the priority, -9 to 9
---@param n? number
---@return number
function group:priority(n) end

---gives up that long after now
---@param duration string|number
function group:expire(duration) end

---a try that is about to happen
---@class attempt
local attempt = {}
---1 for the first
attempt.number = nil ---@type number
---time of the first try, or nil
attempt.first_at = nil ---@type number|nil
---time of the last try, or nil
attempt.last = nil ---@type number|nil

---the outcome of a try for one recipient
---@class result
local result = {}
---"delivered", "deferred" or "failed"
result.class = nil ---@type string
---reply code, or nil
result.code = nil ---@type number|nil
---enhanced status code, or nil
result.enhanced = nil ---@type string|nil
---text of the reply
result.text = nil ---@type string
---the host that said so, or nil
result.host = nil ---@type string|nil
---number of the try
result.attempt = nil ---@type number
---seconds since the message was received
result.age = nil ---@type number

---the mailbox that the mail is for
---@class box
local box = {}
---its owner
box.address = nil ---@type string

---list of the names of its folders
---@return string[]
function box:folders() end

---octets used, and the limit or nil
---@return number, number|nil
function box:quota() end

---what `carteiro account set` stored, or nil
---@param name string
---@return any
function box:setting(name) end

---a report about to be made
---@class dsn
local dsn = {}
---"failed", "delayed", "delivered", "relayed" or "expanded"
dsn.action = nil ---@type string
---status code of the first recipient
dsn.status = nil ---@type string
---the part for people; can be changed
dsn.text = nil ---@type string

---something that happened
---@class event
local event = {}
---accepted, rejected, delivered, deferred, bounced, expired, login, login_failed, setting, reload or learned
event.name = nil ---@type string
---the same each time that this event is told
event.id = nil ---@type string
---when it happened
event.time = nil ---@type number
---a table; of messages message, sender, to, subject (with the right headers:read), size, code, enhanced, text, host, attempt, client, listener, user; of logins user, mechanism, client, listener, protocol; of settings (`carteiro account set`) user, name, value, confirmed; of reloads generation, by
event.data = nil ---@type table

---an HTTP request
---@class req
local req = {}
---"GET", "POST", ...
req.method = nil ---@type string
---what follows /b/BUNDLE
req.path = nil ---@type string
---parameters of the URL
req.query = nil ---@type table
---fields of a form that was posted
req.form = nil ---@type table
---header fields, names in lower case; cookie and authorization only for bundles with the right credentials
req.headers = nil ---@type table
---address of the client
req.ip = nil ---@type string
---octets of the body, at most 1 MiB
req.body = nil ---@type string

---what an operator typed: carteiro NAME VERB ARGS... --OPTION VALUE
---@class cmd
local cmd = {}
---first word
cmd.name = nil ---@type string
---second word
cmd.verb = nil ---@type string
---list of the words behind
cmd.args = nil ---@type string[]
---values of the options, by name
cmd.options = nil ---@type table
---whether the answer is wanted as JSON
cmd.json = nil ---@type boolean

---plain data that stays with its owner: meta.x = v stores a copy, meta.x reads one. Each bundle has its own keys, for each domain; what it noted while no domain was at hand can be read at all; rcpt.meta.folder names the folder the server files into
---@class meta
local meta = {}

---this bundle's settings for the domain at hand, read only; while files load, those of the server as a whole
---@class config
local config = {}

---plain data, read only
---@class data
local data = {}

---a table that came from a bundle which this one requires; read only
---@class library
local library = {}

---a look-up file. TOML: keys and values. The others: a line each, "key value", # begins a comment, a missing value is true
---@class map
local map = {}

---the value of exactly that key, or nil
---@param key string
---@return any
function map:get(key) end

---the value of the smallest network, the nearest parent domain, or the first pattern that matches, or nil
---@param key string
---@return any
function map:match(key) end

---a compiled pattern
---@class regex
local regex = {}

---captures of the first match, or the match itself where there are none, or nil
---@param s string
---@return any
function regex:match(s) end

---start, end and captures of the first match, or nil
---@param s string
---@param init? number
---@return number|nil, number|nil, any
function regex:find(s, init) end

---iterates all matches
---@param s string
---@return function
function regex:gmatch(s) end

---s with all matches, or the first n, replaced, and how many those were; replacement is a text, in which %1 to %9 are captures, %0 is the match and %% a percent sign, or a function of the captures, or of the match where there are none, that returns a text, or nil to leave it
---@param s string
---@param replacement string|function
---@param n? number
---@return string, number
function regex:gsub(s, replacement, n) end

---several compiled patterns
---@class regex_set
local regex_set = {}

---number of the first pattern that matches and what it matched, or nil
---@param s string
---@return number|nil, string|nil
function regex_set:match(s) end
