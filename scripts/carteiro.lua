---@meta
-- What Carteiro's policies may use, for editors that speak LuaLS. Written by
-- `carteiro scripts meta`; the server does not read it.

---what a handler returns; the functions that make one are those of its hook
---@class verdict

---ends this tier and the tiers below it; at receive.auth, identity says who logged in
---@param identity? table|string
---@return verdict
function accept(identity) end

---refuses permanently, 550 5.7.1 by default
---@overload fun(text?: string): verdict
---@overload fun(code: number, text: string): verdict
---@param code number
---@param enhanced string
---@param text string
---@return verdict
function reject(code, enhanced, text) end

---refuses temporarily, 451 4.7.1 by default
---@overload fun(text?: string): verdict
---@overload fun(code: number, text: string): verdict
---@param code number
---@param enhanced string
---@param text string
---@return verdict
function defer(code, enhanced, text) end

---replies 421 and closes the connection
---@param text? string
---@return verdict
function disconnect(text) end

---accepts the mail and deletes it
---@param reason string
---@return verdict
function discard(reason) end

---accepts the mail and keeps it in quarantine until an admin releases it
---@param reason string
---@return verdict
function quarantine(reason) end

---keeps the mail in the queue until an operator releases it
---@param reason string
---@return verdict
function hold(reason) end

---no delivery attempt before that time
---@param time number
---@return verdict
function schedule(time) end

---delivers into the default folder
---@param flags? string|string[]
---@return verdict
function keep(flags) end

---delivers into that folder
---@param folder string
---@param flags? string|string[]
---@return verdict
function fileinto(folder, flags) end

---sends the mail to that address instead
---@param address string
---@return verdict
function redirect(address) end

---the next hop; tls is "may", "verify" or "none". Without hosts, the hosts of the configuration or of the MX records are used, in their order and with the server's checks, and source, tls, user, password and port apply to them
---@param options { hosts?: string|string[], port?: number, tls?: "may"|"verify"|"none", lmtp?: any, source?: string, user?: any, ttl?: string|number }
---@return verdict
function route(options) end

---like route, for mail that is already queued
---@param options { hosts?: string|string[], port?: number, tls?: "may"|"verify"|"none", lmtp?: any, source?: string, user?: any, ttl?: string|number }
---@return verdict
function reroute(options) end

---tries again after so many seconds
---@param seconds string|number
---@return verdict
function retry(seconds) end

---gives up; the DSN says why
---@param text string
---@return verdict
function fail(text) end

---sends no DSN for this outcome
---@return verdict
function nodsn() end

---the answer to an HTTP request or to a command. For a command the default type is text/plain, and a status of 400 or more means that it failed, with the body as the reason
---@param options { status?: number, type?: string, body?: any, headers?: table }
---@return verdict
function response(options) end

---raises message if v is nil or false; else returns its arguments
---@param v any
---@param message? any
---@return any
function assert(v, message) end

---raises an error
---@param message any
---@param level? number
function error(message, level) end

---of tables only
---@param table any
---@return table|nil
function getmetatable(table) end

---iterates over 1, 2, ... up to the first nil
---@param list table
---@return function, table, number
function ipairs(list) end

---the next key and value
---@param table table
---@param key? any
---@return any, any
function next(table, key) end

---iterates over all keys; works for meta and config too
---@param table table
---@return function, table, nil
function pairs(table) end

---calls f; an error becomes false and the error. An exhausted budget cannot be caught
---@param f any
---@param ... any
---@return boolean, any
function pcall(f, ...) end

---writes the arguments with log.info
---@param ... any
function print(...) end

---compares, without metamethods
---@param a any
---@param b any
---@return boolean
function rawequal(a, b) end

---reads, without metamethods
---@param table table
---@param key any
---@return any
function rawget(table, key) end

---writes, without metamethods; tables only
---@param table table
---@param key any
---@param value any
---@return table
function rawset(table, key, value) end

---the arguments from the n-th, or with '#' how many there are
---@param n number|string
---@param ... any
---@return any
function select(n, ...) end

---of tables only
---@param table table
---@param metatable table|nil
---@return table
function setmetatable(table, metatable) end

---a number or nil
---@param v any
---@param base? number
---@return number|nil
function tonumber(v, base) end

---the text of any value
---@param v any
---@return string
function tostring(v) end

---the name of the type
---@param v any
---@return string
function type(v) end

---the elements, as several results
---@param list table
---@param i? number
---@param j? number
---@return any
function unpack(list, i, j) end

---calls f(...) with a part of the budget and returns its results, or nil and "budget" when that part is used up: f ends then, and the handler continues
---@param instructions number
---@param f function
---@param ... any
---@return any, any
function within(instructions, f, ...) end

---like pcall; handler makes the error value
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

---at receive.*: delays the reply to this client, by 30 s at most
---@param seconds string|number
function tarpit(seconds) end

---calls fn with the settings, kv, rate and meta of that domain, and returns its results; "" means the server as a whole
---@param domain string
---@param fn function
---@return any
function for_domain(domain, fn) end

---runs a file of the same bundle or script folder once and returns its value
---@param name string
---@return any
function require(name) end

---addresses
addr = {}

---the address and display name of the first mailbox in a header value, or nil
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

---the address without its tag and in lower case, or nil
---@param address string
---@return string|nil
function addr.normalize(address) end

---the organizational domain, by the public suffix list
---@param domain string
---@return string
function addr.org_domain(domain) end

---a signed sender (SRS) for a forwarded message, at one of our domains or at the server's name. For 21 days, bounces sent to it reach the original sender. A sender of ours, the null sender, and one that is too long are returned unchanged
---@param sender string
---@param domain? string
---@return string
function addr.srs(sender, domain) end

---the original sender of a signed one, or nil if it is forged or older than 21 days
---@param address string
---@return string|nil
function addr.srs_reverse(address) end

---a signed bounce address that names its recipient: BOUNCES+user=domain=SIGN
---@param bounces string
---@param address string
---@return string
function addr.verp(bounces, address) end

---the recipient that a bounce address names, or nil if it is forged
---@param address string
---@return string|nil
function addr.verp_reverse(address) end

---sends mail. It is queued in the commit of the current message, exactly once. At most 10 messages per call
mail = {}

---sends a new message; with text and html it has both forms; copy also files it in that folder of the sender's mailbox here; auto is "auto-generated" (default) or "auto-replied"; to and cc are addresses or lists; raw is a whole message
---@param options { sender?: string, from?: string, to?: string|string[], cc?: string|string[], subject?: string, text?: string, html?: string, raw?: string, headers?: table, auto?: "auto-replied"|"auto-generated", in_reply_to?: msg, copy?: string }
function mail.submit(options) end

---files a copy of the current message in a folder of a mailbox here, once, whatever else the mailbox gets; no policy is asked about the copy
---@param msg msg
---@param address string
---@param folder string
---@param flags? string|string[]
function mail.file(msg, address, folder, flags) end

---sends the current message to another address; srs rewrites the sender
---@param msg msg
---@param address string
---@param options? { srs?: any, headers?: table }
function mail.forward(msg, address, options) end

---accounts of this server
account = {}

---whether there is such an account
---@param address string
---@return boolean
function account.exists(address) end

---what `carteiro account set` stored, or nil
---@param address string
---@param name string
---@return any
function account.setting(address, name) end

---whether the admin set that setting with --confirmed: the people that it names have agreed
---@param address string
---@param name string
---@return boolean
function account.confirmed(address, name) end

---resolves one step: "mailbox" and its address, "alias" and the list of its targets, "foreign" for other domains, or nil if nobody has the address
---@param address string
---@return string|nil, string|string[]|nil
function account.resolve(address) end

---nil, "as" or "behalf"
---@param identity string
---@param address string
---@return string|nil
function account.may_send_as(identity, address) end

---the account that has this name and password, or nil; after wrong guesses the next ones take longer
---@param name string
---@param password string
---@return string|nil
function account.login(name, password) end

---gives a right until a time, or without end. It counts at once, even if the handler fails later. Returns true, or nil and what is wrong
---@param owner string
---@param delegate string
---@param right string
---@param until_? number
---@return boolean|nil, string|nil
function account.grant(owner, delegate, right, until_) end

---takes back a right, or all of them, in the same way
---@param owner string
---@param delegate string
---@param right? string
---@return boolean|nil, string|nil
function account.revoke(owner, delegate, right) end

---a list of the rights that an owner gave: { delegate, right, until }
---@param owner string
---@return { delegate: string, right: string, until: number|nil }[]
function account.granted(owner) end

---adds an entry to the delegation log: what others did in the owner's name. `carteiro account audit` prints it
---@param owner string
---@param entry { who?: string, action?: string, as?: string, right?: string, message_id?: string, message?: string, ip?: string }
function account.audit(owner, entry) end

---a list of the entries of the delegation log with their time and the bundle that wrote them (by), the newest first; 100 by default, 1000 at most
---@param owner string
---@param limit? number
---@return table[]
function account.audited(owner, limit) end

---whether the address belongs to the account: its name, with any tag, or an alias that leads to it; a catch-all does not count
---@param account string
---@param address string
---@return boolean
function account.owns(account, address) end

---the account that an address leads to, with a tag or as an alias of that account alone, or nil
---@param address string
---@return string|nil
function account.of(address) end

---this server as others see it
server = {}

---its name
---@return string
function server.hostname() end

---the public URL of this bundle's web.request: that of /b/BUNDLE, and the path
---@param path? string
---@return string|nil
function server.url(path) end

---two results: whether mail for the domain ends here and this bundle serves the domain, and whether mail for it ends here at all. account, list and crypt answer only about domains for which the first is true
---@param domain string
---@return boolean, boolean
function server.is_local(domain) end

---a signature of a text: 32 hexadecimal digits that only this server can make, different for each bundle
---@param text string
---@return string
function server.sign(text) end

---mailing lists: named sets of addresses with settings, and with attributes for each member. Changes count when changes of kv do
list = {}

---names of all lists, or of those at a domain
---@param domain? string
---@return string[]
function list.names(domain) end

---creates a list or replaces its settings; nil removes the list and its members
---@param name string
---@param settings? table
function list.configure(name, settings) end

---the settings of that list, or nil if there is no such list
---@param name string
---@return table|nil
function list.settings(name) end

---a list of the members' addresses; filter is a table of attributes that they must have
---@param name string
---@param filter? table
---@return string[]
function list.members(name, filter) end

---like members, but returns a list of tables: the attributes, and address
---@param name string
---@param filter? table
---@return table[]
function list.roster(name, filter) end

---the attributes of a member, or nil
---@param name string
---@param address? string
---@return table|nil
function list.member(name, address) end

---adds a member with these attributes
---@param name string
---@param address string
---@param attributes? table
function list.add(name, address, attributes) end

---removes a member
---@param name string
---@param address string
function list.remove(name, address) end

---changes attributes of a member; returns false if there is no such member, else true
---@param name string
---@param address string
---@param attributes? table
---@return boolean
function list.set(name, address, attributes) end

---holds the current message for that list until it is released or dropped; list.held also returns the table about. The handler has to discard the recipient itself
---@param name string
---@param msg msg
---@param about? table
---@return any
function list.hold(name, msg, about) end

---a list of the held messages: { id, from, sender, subject, size, at, ... }; with an id, only that one, or nil
---@param name string
---@param id? string
---@return table|nil
function list.held(name, id) end

---sends a held message through queue.expand again, with rcpt.released set; false if it is not held
---@param name string
---@param id string
---@return boolean
function list.release(name, id) end

---drops a held message without a DSN; false if it is not held
---@param name string
---@param id string
---@return boolean
function list.drop(name, id) end

---plain data in the store, separate for each bundle and domain. Writes count when the handler returns; at hooks about a message they are part of its commit. At most 200 operations per call
kv = {}

---the value, or nil; sees the handler's own writes
---@param key string
---@return any
function kv.get(key) end

---stores a value
---@param key string
---@param value any
---@param options? { ttl?: string|number }
function kv.set(key, value, options) end

---true for the first caller, then false until ttl is over
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

---deletes a key
---@param key string
function kv.delete(key) end

---stores new if the value is still old (nil: absent) and returns whether it was, as seen now
---@param key string
---@param old any
---@param new any
---@param options? { ttl?: string|number }
---@return boolean
function kv.cas(key, old, new, options) end

---a list of { key, value } in the order of the keys, at most 1000
---@param prefix string
---@param limit? number
---@return { key: string, value: any }[]
function kv.scan(prefix, limit) end

---rate limits (GCRA), separate for each bundle and domain; what a failed handler took is given back
rate = {}

---three results: whether it may happen now, the seconds to wait if not, and how many more may follow at once
---@param key string
---@param rate string
---@param options? { burst?: number, cost?: number }
---@return boolean, number, number
function rate.take(key, rate, options) end

---results that all interpreters of a generation share
cache = {}

---a function like fn that remembers its results: up to 1000 for 5 minutes, by default. Only one call per key runs at a time. Results are plain data
---@param fn function
---@param options? { ttl?: string|number, size?: number }
---@return function
function cache.memoize(fn, options) end

---look-up files of the bundle or script folder; they are part of the generation
map = {}

---opens a .toml, .cidr, .domains or .regex file; only at the top of a file
---@param file string
---@return map
function map.open(file) end

---DNS queries, at most 50 per call. Each returns a list, or nil and "nxdomain", "timeout" or "servfail"
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

---the codes with which a DNS block list lists an address, or nil
---@param ip string
---@param zone string
---@return string[]|nil, string|nil
function dns.rbl(ip, zone) end

---sends all queries at once; returns a list that has for each the list of its answers or the text of its error
---@param questions table
---@return table
function dns.batch(questions) end

---HTTP requests to the hosts that were granted (for scripts by `[scripts] http`, for bundles by their manifest), at most 5 per call. Only public addresses are connected to, unless the grant is an address or ends in " private". Options: headers, type (of the body), timeout. Redirects are returned and not followed. A request cannot be undone when the handler fails or runs again for the same message: it has the same Idempotency-Key then
http = {}

---{ status, headers, body }, or nil and "timeout", "tls" or "unreachable". For a host that has no public address and was not granted as private, the second result says what to write. Names of headers are in lower case; a body has at most 1 MiB
---@param url string
---@param options? { headers?: table, timeout?: string|number }
---@return { status: number, headers: table, body: string }|nil, string|nil
function http.get(url, options) end

---like get; a table as body is sent as JSON
---@param url string
---@param body? string|table
---@param options? { headers?: table, type?: string, timeout?: string|number }
---@return { status: number, headers: table, body: string }|nil, string|nil
function http.post(url, body, options) end

---sends all requests at once; returns a list that has for each the answer or the text of its error
---@param requests table
---@return table
function http.batch(requests) end

---mail filters (milters) of the configuration's [milter.NAME], at most 5 scans per call. If a filter does not answer, the handler fails
milter = {}

---two results: "accept", "reject", "defer", "discard" or "quarantine", and the changes that the filter wants: a list of { op, name, value, index } with op add_header, insert_header, change_header, replace_body, add_rcpt, remove_rcpt or change_sender. The list also has code, enhanced and text of the filter's reply, and reason for a quarantine
---@param name string
---@param msg msg
---@return string|nil, any
function milter.scan(name, msg) end

---signs messages, and encrypts them to the keys of addresses (`carteiro key add`)
crypt = {}

---at receive.data, or of a fork or variant: when all handlers have run, the message is encrypted to the OpenPGP key of that address (RFC 3156). true, or nil and why it will not be: "encrypted" (it is already; it stays as it is), "report" (a delivery status notification stays readable), "no key", "expired", "revoked", "unusable", "unreadable", "too large"
---@param msg msg
---@param account string
---@param options? { hide_subject?: boolean }
---@return boolean|nil, string|nil
function crypt.openpgp(msg, account, options) end

---like openpgp, with the S/MIME certificate of that address (RFC 8551), for messages of up to 32 MiB
---@param msg msg
---@param account string
---@param options? { hide_subject?: boolean }
---@return boolean|nil, string|nil
function crypt.smime(msg, account, options) end

---"openpgp" or "smime": what a message to that address can be encrypted with, or nil; if the key cannot be used now, the second result is the reason
---@param account string
---@return string|nil
function crypt.has_key(account) end

---at receive.data, or for a fork: adds a DKIM signature (RFC 6376) with the keys of that domain after all handlers have run. Mail of users and policies gets a signature of its author's domain anyway
---@param msg msg
---@param options { domain?: string, selector?: string }
---@return any
function crypt.sign_dkim(msg, options) end

---a statistical model of wanted and unwanted mail that learns from messages, for the site and for each account. Changes count when changes of kv do
spam = {}

---teaches the model of the site, or of that account, that the message (or a part of type message/rfc822) is spam or ham. Learning the same message twice has no effect; the last word counts. false and "too complex" for a message that would take too long to read
---@param msg msg|part
---@param class "spam"|"ham"
---@param account? string
---@return boolean, string|nil
function spam.learn(msg, class, account) end

---makes the model forget the message
---@param msg msg|part
---@param account? string
---@return boolean, string|nil
function spam.unlearn(msg, account) end

---the probability, 0 to 1, that the message is spam; 0.5 before anything was learned; nil and "too complex" for a message that would take too long to read
---@param msg msg|part
---@param account? string
---@return number|nil, string|nil
function spam.classify(msg, account) end

---how much of its text, 0.3 to 1, the message shares with the most similar learned message, and whether that one was "spam" or "ham"; nil if none is similar or the text has few words; nil and "too complex" for a message that would take too long to read. It finds copies of a message as soon as one of them was learned, even if words were changed
---@param msg msg|part
---@param account? string
---@return number|nil, string|nil
function spam.similar(msg, account) end

---secret texts from files or the environment, as the configuration says
secrets = {}

---the secret that the manifest declares under that name; it is read again after a reload
---@param name string
---@return string
function secrets.get(name) end

---regular expressions in RE2's syntax, matched in linear time
re = {}

---compiles a regex
---@param pattern string
---@return regex
function re.compile(pattern) end

---a set of several patterns
---@param patterns string|string[]
---@return regex_set
function re.set(patterns) end

---JSON (RFC 8259). Octets above 127 in strings are not changed; null is nil
json = {}

---plain data as JSON; keys are sorted; an empty table is {}
---@param v any
---@return string
function json.encode(v) end

---the value, or nil and what is wrong
---@param text string
---@return any, string|nil
function json.decode(text) end

---TOML 1.0
toml = {}

---a table with names as TOML; keys are sorted
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

---the decoded octets, or nil and what is wrong; both alphabets, padding is optional
---@param s string
---@return string|nil, string|nil
function base64.decode(s) end

---hexadecimal text
hex = {}

---in lower case
---@param s string
---@return string
function hex.encode(s) end

---the decoded octets, or nil and what is wrong
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

---the time at which the hook was called
---@return number
function time.now() end

---the text of a time; layout is "rfc3339" (default), "rfc5322", "date" or a pattern like "%Y-%m-%d %H:%M:%S"; zone is a name like "Europe/Lisbon", UTC by default
---@param t number
---@param layout? string
---@param zone? string
---@return string
function time.format(t, layout, zone) end

---the Unix seconds of a date or of an RFC 3339 or RFC 5322 time, or nil
---@param s string
---@param zone? string
---@return number|nil
function time.parse(s, zone) end

---metrics at /metrics, named carteiro_script_policy_NAME or carteiro_bundle_policy_PUBLISHER_BUNDLE_NAME; they count when the handler returns. Names and labels have lower case letters, digits and _; at most 4 labels. After 100 different sets of label values, further ones count as "other"
metrics = {}

---adds n, 1 by default; the name gets the suffix _total
---@overload fun(name: string, n?: number, labels?: table)
---@param name string
---@param labels table
function metrics.counter(name, labels) end

---sets a value
---@param name string
---@param value number
---@param labels? table
function metrics.gauge(name, value, labels) end

---adds one observation; the buckets suit seconds and octets
---@param name string
---@param value number
---@param labels? table
function metrics.histogram(name, value, labels) end

---writes to the server's log
log = {}

---writes a line with fields, a table of plain data
---@param text any
---@param fields? table
function log.debug(text, fields) end

---writes a line with fields
---@param text any
---@param fields? table
function log.info(text, fields) end

---writes a line with fields
---@param text any
---@param fields? table
function log.warn(text, fields) end

---writes a line with fields
---@param text any
---@param fields? table
function log.error(text, fields) end

---Lua 5.1's string functions; their work counts against the budget
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

---iterates over all matches
---@param s string
---@param pattern string
---@return function
function string.gmatch(s, pattern) end

---replaces matches by a text, or by what a table or function gives
---@param s string
---@param pattern string
---@param repl string|table|function
---@param n? number
---@return string, number
function string.gsub(s, pattern, repl, n) end

---the number of octets of s
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

---Lua 5.1's table functions; their work counts against the budget
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

---removes and returns the element at pos, or the last one
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

---one connection of a client; it can be read after the client has gone
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
---verified host name of the client, or nil
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
---true if the client has gone
session.closed = nil ---@type boolean
---data of policies, kept for this session
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
---subject of the verified client certificate, or nil
tls.subject = nil ---@type string|nil

---the user who logged in: user, and every key that accept(identity) gave
---@class identity
local identity = {}

---a login attempt, after the server checked its own accounts
---@class cred
local cred = {}
---"PLAIN", "LOGIN", "USER", "APOP", ...
cred.mechanism = nil ---@type string
---the name given
cred.user = nil ---@type string
---whether name and password are those of an account here
cred.verified = nil ---@type boolean
---the account whose mailbox or identity the login is for, or nil if none matched
cred.account = nil ---@type string|nil
---the account that really logs in, if it is another one (owner*delegate at POP3); else nil
cred.delegate = nil ---@type string|nil
---the token of OAUTHBEARER and XOAUTH2, else nil; nil for bundles without the right passwords
cred.token = nil ---@type string|nil
---nil if the mechanism does not show it, and for bundles without the right passwords
cred.password = nil ---@type string|nil

---the mail transaction, while the client sends it
---@class tx
local tx = {}
---id that the message will have
tx.id = nil ---@type string
---envelope sender; "" is the null sender
tx.sender = nil ---@type string
---parameters of MAIL
tx.params = nil ---@type params
---data of policies, kept for this transaction
tx.meta = nil ---@type meta

---a list of rcpt: the recipients accepted so far; a policy of a domain sees those of its domain, or all if a user of its domain sends
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
---time until which the client wants the message held, or nil
params.hold_for = nil ---@type number|nil
---MT-PRIORITY or nil
params.priority = nil ---@type number|nil
---true or false
params.requiretls = nil ---@type boolean

---the message. It can be changed at receive.data; at deliver.attempt its header fields can be changed for that attempt
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
---whether a user who logged in, a client that may relay, or a policy sent it
msg.ours = nil ---@type boolean
---the direction of the mail for this call of the handler: "in", mail to a domain of ours; "out", outgoing mail of a domain of ours (from a user who logged in, a policy or a list, whatever the client claims) and other mail that leaves; "within", both
msg.direction = nil ---@type "in"|"out"|"within"|nil
---data of policies, kept with the message
msg.meta = nil ---@type meta

---the unfolded value of the first field of that name, or nil
---@param name string
---@return string|nil
function msg:header(name) end

---a list of the values of all fields of that name, in order
---@param name string
---@return string[]
function msg:headers(name) end

---adds a field after all others
---@param name string
---@param value string
function msg:add_header(name, value) end

---adds a field before all others
---@param name string
---@param value string
function msg:prepend_header(name, value) end

---replaces all fields of that name by this one
---@param name string
---@param value string
function msg:set_header(name, value) end

---removes all fields of that name and returns how many there were
---@param name string
---@return number
function msg:remove_header(name) end

---the decoded subject, or nil
---@return string|nil
function msg:subject() end

---the first address of From, or nil
---@return string|nil
function msg:from() end

---a list of the addresses in all fields of these names, such as From or To, at most 1000
---@param name string
---@param ... string
---@return string[]
function msg:addresses(name, ...) end

---the decoded display name of From, or nil
---@return string|nil
function msg:from_display() end

---Date as Unix seconds, or nil
---@return number|nil
function msg:date() end

---Message-ID with its brackets, or nil
---@return string|nil
function msg:message_id() end

---iterates over the parts that have content
---@return fun(): part
function msg:parts() end

---the text of all text parts as UTF-8, HTML without its tags; at most max octets, 256 KiB by default
---@param max? number
---@return string
function msg:text(max) end

---the message unchanged, header section and body; at most max octets, 256 KiB by default
---@param max? number
---@return string
function msg:raw(max) end

---adds a text at the end: below a plain text, else as a part of its own. Signed and encrypted content is not changed. marks is a table of placeholders: "%(NAME)" in the text becomes the value of NAME, or the value that a copy has in its fill
---@param text string
---@param marks? table
function msg:append_text(text, marks) end

---what a delivery status notification (DSN) reports: a list of { address, original, action, status, class, diagnostic }, where class is "hard", "soft" or nil; nil for other mail
---@return table[]|nil
function msg:report() end

---the first match of an RE2 pattern in the subject and the text, or nil
---@param re string
---@return string|nil
function msg:find(re) end

---a list of the different http, https and mailto links, at most 500
---@return string[]
function msg:urls() end

---the results of sender authentication: tables spf, dkim, dmarc and arc, each with result and domain; dmarc also has policy, dkim has signatures, arc has the domain that sealed last. May query the DNS
---@return { spf: table, dkim: table, dmarc: table, arc: table }
function msg:auth() end

---adds points to the spam score; returns the total, which is kept with the message
---@overload fun(self: msg): number
---@param name string
---@param points number
---@param note? string
---@return number
function msg:score(name, points, note) end

---a list of { name, points, note }; at receive.data
---@return { name: string, points: number, note: string }[]
function msg:scores() end

---sets and returns the priority, -9 to 9
---@param n? number
---@return number
function msg:priority(n) end

---whether no machine should answer the message (RFC 3834): it has a null sender, a sender that is not a person, or the field Auto-Submitted, List-* or Precedence. If the hook has a recipient, the recipient's own sender and fields count too
---@return boolean
function msg:is_auto() end

---whether To, Cc, Bcc or their Resent forms name the address, with any tag, or an alias that leads to it (RFC 5230 4.5); a catch-all does not count
---@param address string
---@return boolean
function msg:addressed_to(address) end

---one part of a message that has content
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
---octets, still in the transfer encoding
part.size = nil ---@type number

---content as UTF-8 text
---@param max? number
---@return string
function part:text(max) end

---content, without the transfer encoding
---@param max? number
---@return string
function part:bytes(max) end

---hexadecimal SHA-256 of the content
---@return string
function part:sha256() end

---the text of the QR code in a picture (PNG, JPEG, GIF), or nil; skips pictures of more than 2 MiB or one million pixels, and all pictures after two million pixels in one call
---@return string|nil
function part:qr_code() end

---replaces the part by a text
---@param text string
function part:replace(text) end

---replaces the part by an empty text
function part:remove() end

---one recipient
---@class rcpt
local rcpt = {}
---the address that the mail goes to; can be changed at receive.rcpt
rcpt.address = nil ---@type string
---the address in the RCPT command
rcpt.orig = nil ---@type string
---return path of this recipient's copy: that of the message, or what a policy chose
rcpt.sender = nil ---@type string
---local part without its tag
rcpt.user = nil ---@type string
---domain in lower case
rcpt.domain = nil ---@type string
---what follows the "+", or nil
rcpt.tag = nil ---@type string|nil
---whether the domain is ours
rcpt.is_local = nil ---@type boolean
---whether list.release released the message for this recipient
rcpt.released = nil ---@type boolean
---list of NOTIFY keywords, or nil
rcpt.notify = nil ---@type string[]|nil
---decoded ORCPT, or nil
rcpt.orcpt = nil ---@type string|nil
---data of policies, kept with the recipient; folder names the folder to deliver into
rcpt.meta = nil ---@type meta

---at queue.expand: replaces this recipient by others; how is a table { sender =, headers =, priority =, notify =, mailbox =, fill =, arc =, msg = } or a function(address) that returns one. With mailbox = true the mail is filed in the mailbox of exactly that address, even if it has no account; fill is a table of values for placeholders of msg:append_text; arc is a domain that adds an ARC seal to copies that leave (RFC 8617): it tells later servers what was verified when the mail arrived; msg is the variant that these recipients get
---@param list string|string[]
---@param how? table|function
function rcpt:replace(list, how) end

---at queue.expand: a separate msg for this recipient and for those that this hook adds for it; it can be changed like the msg of receive.data
---@return msg
function rcpt:fork() end

---at queue.expand: a separate msg, only for recipients whose how names it (msg =); it can be changed like the msg of receive.data
---@return msg
function rcpt:variant() end

---adds recipients and keeps this one
---@param addresses string|string[]
---@param how? table|function
function rcpt:copy_to(addresses, how) end

---changes only this recipient's copy
---@param name string
---@param value string
function rcpt:set_header(name, value) end

---adds the field at the top of this recipient's copy only
---@param name string
---@param value string
function rcpt:add_header(name, value) end

---changes only this recipient's copy
---@param name string
function rcpt:remove_header(name) end

---recipients of one message that are delivered together: they have the same next hop key
---@class group
local group = {}
---the destination domain, or what a policy chose; can be changed at queue.commit
group.key = nil ---@type string
---domain of the recipients
group.domain = nil ---@type string
---whether it goes to mailboxes here
group.is_local = nil ---@type boolean
---data of policies, kept with the group
group.meta = nil ---@type meta

---list of addresses
---@return string[]
function group:recipients() end

---sets and returns the priority, -9 to 9
---@param n? number
---@return number
function group:priority(n) end

---gives up after that time from now
---@param duration string|number
function group:expire(duration) end

---a delivery attempt that is about to start
---@class attempt
local attempt = {}
---1 for the first
attempt.number = nil ---@type number
---time of the first attempt, or nil
attempt.first_at = nil ---@type number|nil
---time of the last attempt, or nil
attempt.last = nil ---@type number|nil

---the outcome of an attempt for one recipient
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
---the host that replied, or nil
result.host = nil ---@type string|nil
---number of the attempt
result.attempt = nil ---@type number
---seconds since the message was received
result.age = nil ---@type number

---the mailbox that the mail is delivered to
---@class box
local box = {}
---its owner
box.address = nil ---@type string

---a list of the names of its folders
---@return string[]
function box:folders() end

---two results: the octets used, and the limit or nil
---@return number, number|nil
function box:quota() end

---what `carteiro account set` stored, or nil
---@param name string
---@return any
function box:setting(name) end

---a delivery status notification (DSN) that is about to be made
---@class dsn
local dsn = {}
---"failed", "delayed", "delivered", "relayed" or "expanded"
dsn.action = nil ---@type string
---status code of the first recipient
dsn.status = nil ---@type string
---the text for people; can be changed
dsn.text = nil ---@type string

---something that happened
---@class event
local event = {}
---accepted, rejected, delivered, deferred, bounced, expired, login, login_failed, setting, reload or learned
event.name = nil ---@type string
---the same for every call about this event
event.id = nil ---@type string
---when it happened
event.time = nil ---@type number
---a table. For messages: message, sender, to, subject (with the right headers:read), size, code, enhanced, text, host, attempt, client, listener, user. For logins: user, mechanism, client, listener, protocol. For settings (`carteiro account set`): user, name, value, confirmed. For reloads: generation, by
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
---fields of a posted form
req.form = nil ---@type table
---header fields, names in lower case; cookie and authorization only for bundles with the right credentials
req.headers = nil ---@type table
---address of the client
req.ip = nil ---@type string
---the body, at most 1 MiB
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

---plain data that is kept with its owner: meta.x = v stores a copy, meta.x reads a copy. Each bundle has its own keys, separate for each domain; what it stored when no domain was known can be read for every domain; rcpt.meta.folder names the folder that the server delivers into
---@class meta
local meta = {}

---this bundle's settings for the current domain, read only; while files load, the settings for the server as a whole
---@class config
local config = {}

---plain data, read only
---@class data
local data = {}

---a table from a bundle that this one requires; read only
---@class library
local library = {}

---a look-up file. A TOML file has keys and values. The other kinds have lines "key value"; # begins a comment, and a missing value means true
---@class map
local map = {}

---the value of exactly this key, or nil
---@param key string
---@return any
function map:get(key) end

---the value of the smallest network that contains the key, of the nearest parent domain, or of the first pattern that matches; or nil
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

---iterates over all matches
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
