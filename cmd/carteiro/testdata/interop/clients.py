"""Python's mail libraries against a server: smtplib and poplib."""
import email
import email.message
import email.policy
import poplib
import smtplib
import ssl
import sys
import time

cert, password, secret = sys.argv[1:4]
mx, submission, submissions, lmtp, pop3, pop3s = (int(p) for p in sys.argv[4:])
tls = ssl.create_default_context(cafile=cert)
ALICE, BOB = "alice@example.com", "bob@example.com"


def letter(subject, body):
    m = email.message.EmailMessage()
    m["From"], m["To"], m["Subject"] = ALICE, BOB, subject
    m.set_content(body)
    m.add_attachment(bytes(range(256)) * 40, maintype="application", subtype="octet-stream", filename="all.bin")
    return m


def refused(code, f, *args):
    try:
        f(*args)
    except smtplib.SMTPResponseException as e:
        assert e.smtp_code == code, e
    except smtplib.SMTPRecipientsRefused as e:
        assert all(r[0] == code for r in e.recipients.values()), e
    else:
        raise AssertionError("%s was not refused" % (args,))


def wait(login, n):
    """Opens the maildrop when n messages are in it."""
    for _ in range(400):
        p = login()
        if p.stat()[0] >= n:
            return p
        p.quit()
        time.sleep(0.05)
    raise AssertionError("%d messages did not come" % n)


def apop():
    p = poplib.POP3("localhost", pop3, timeout=20)
    p.apop("bob", secret)
    return p


def stls():
    p = poplib.POP3("localhost", pop3, timeout=20)
    p.stls(tls)
    p.user(BOB)
    p.pass_(password)
    return p


def implicit():
    p = poplib.POP3_SSL("localhost", pop3s, context=tls, timeout=20)
    p.user(BOB)
    p.pass_(password)
    return p


# Submission, with STARTTLS and with TLS from the start.
with smtplib.SMTP("localhost", submission, timeout=20) as s:
    s.ehlo("client.example.net")
    assert not s.has_extn("auth"), "AUTH is offered before STARTTLS"
    refused(530, s.sendmail, ALICE, [BOB], "From: x\r\n\r\nx\r\n")
    s.starttls(context=tls)
    s.ehlo("client.example.net")
    for word in ("pipelining", "8bitmime", "smtputf8", "size", "dsn", "enhancedstatuscodes", "chunking"):
        assert s.has_extn(word), word
    refused(535, s.login, ALICE, "wrong")
    s.login(ALICE, password)
    s.send_message(letter("Olá, carteiro", "Texto com acentos: ção.\n.\n..\nfim\n"))
    refused(550, s.sendmail, ALICE, ["nobody@example.com"], "From: %s\r\n\r\nx\r\n" % ALICE)
with smtplib.SMTP_SSL("localhost", submissions, context=tls, timeout=20) as s:
    s.login(ALICE, password)
    s.send_message(letter("second", "x" * 900 + "\n"), mail_options=["BODY=8BITMIME"], rcpt_options=["NOTIFY=NEVER"])

# A message of one MiB by SMTP, one by LMTP to two recipients.
with smtplib.SMTP("localhost", mx, local_hostname="client.example.net", timeout=20) as s:
    s.sendmail("x@example.net", [BOB], "From: x@example.net\r\nSubject: third\r\n\r\n" + ("y" * 76 + "\r\n") * 13800)
    assert s.docmd("NOOP")[0] == 250
    assert s.docmd("VRFY", "bob")[0] in (252, 502)
with smtplib.LMTP("localhost", lmtp, local_hostname="client.example.net") as s:
    some = s.sendmail("x@example.net", [BOB, "nobody@example.com"], "From: x@example.net\r\nSubject: fourth\r\n\r\nz\r\n")
    assert list(some) == ["nobody@example.com"] and some["nobody@example.com"][0] == 550, some

# The maildrop, three ways; TOP, UIDL, DELE, RSET.
p = wait(apop, 4)
number, listing, _ = p.list()
assert len(listing) == 4
uids = [line.split()[1] for line in p.uidl()[1]]
assert len(set(uids)) == 4
sizes = {int(a): int(b) for a, b in (line.split() for line in listing)}
found = {}
for i in sizes:
    raw = b"\r\n".join(p.retr(i)[1]) + b"\r\n"
    assert len(raw) == sizes[i], (i, len(raw), sizes[i])
    m = email.message_from_bytes(raw, policy=email.policy.default)
    found[m["Subject"]] = m
    top = p.top(i, 0)[1]
    assert top[-1] == b"" and raw.startswith(b"\r\n".join(top)), top
assert set(found) == {"Olá, carteiro", "second", "third", "fourth"}, set(found)
body, attachment = found["Olá, carteiro"].iter_parts()
assert body.get_content().replace("\r\n", "\n") == "Texto com acentos: ção.\n.\n..\nfim\n", body.get_content()
assert attachment.get_content() == bytes(range(256)) * 40
p.dele(1)
p.rset()
assert p.stat()[0] == 4
try:
    p.retr(5)
except poplib.error_proto as e:
    assert b"-ERR" in e.args[0]
else:
    raise AssertionError("message 5 of 4")
p.quit()
p = stls()
assert [line.split()[1] for line in p.uidl()[1]] == uids, "unique ids changed"
p.dele(1)
p.dele(2)
p.quit()
p = implicit()
assert p.stat()[0] == 2
for i in (1, 2):
    p.dele(i)
p.quit()
p = apop()
assert p.stat() == (0, 0)
p.quit()
print("all is well")
