package dmarc

import (
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"fmt"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// Report is one domain's day.
type Report struct {
	Hostname     string           // of the receiver, who reports
	Organization string           // its name; Hostname, if empty
	From         envelope.Address // contact, and author of the report's mail
	Begin        time.Time
	Published    envelope.DMARCRecord
	Rows         []CountedRow
}

// CountedRow is a Row and how many messages it stands for.
type CountedRow struct {
	Row
	Count int64
}

func (r *Report) end() time.Time { return r.Begin.Add(24*time.Hour - time.Second) }

// ID is the same whenever the same report is made, so that one that is sent
// twice is known for that (RFC 9990 3.5.1).
func (r *Report) ID() string {
	return fmt.Sprintf("%d.%s@%s", r.Begin.Unix(), r.Published.Domain, r.Hostname)
}

// Filename returns the attachment's (RFC 9990 3.5.2).
func (r *Report) Filename() string {
	return fmt.Sprintf("%s!%s!%d!%d.xml.gz", r.Hostname, r.Published.Domain, r.Begin.Unix(), r.end().Unix())
}

// feedback and what is in it are the elements of RFC 9990 appendix A.
type feedback struct {
	XMLName  xml.Name `xml:"urn:ietf:params:xml:ns:dmarc-2.0 feedback"`
	Version  string   `xml:"version"`
	Metadata struct {
		Organization string `xml:"org_name"`
		Email        string `xml:"email"`
		ID           string `xml:"report_id"`
		Range        struct {
			Begin int64 `xml:"begin"`
			End   int64 `xml:"end"`
		} `xml:"date_range"`
		Generator string `xml:"generator"`
	} `xml:"report_metadata"`
	Policy struct {
		Domain    string `xml:"domain"`
		Discovery string `xml:"discovery_method"`
		P         string `xml:"p"`
		SP        string `xml:"sp"`
		NP        string `xml:"np"`
		FO        string `xml:"fo"`
		ADKIM     string `xml:"adkim"`
		ASPF      string `xml:"aspf"`
		Testing   string `xml:"testing"`
	} `xml:"policy_published"`
	Records []record `xml:"record"`
}

type record struct {
	Row struct {
		IP        string `xml:"source_ip"`
		Count     int64  `xml:"count"`
		Evaluated struct {
			Disposition string  `xml:"disposition"`
			DKIM        string  `xml:"dkim"`
			SPF         string  `xml:"spf"`
			Reason      *reason `xml:"reason"`
		} `xml:"policy_evaluated"`
	} `xml:"row"`
	Identifiers struct {
		From     string `xml:"header_from"`
		Envelope string `xml:"envelope_from"`
	} `xml:"identifiers"`
	Results struct {
		DKIM []dkimResult `xml:"dkim"`
		SPF  *spfResult   `xml:"spf"`
	} `xml:"auth_results"`
}

type reason struct {
	Type string `xml:"type"`
}

type dkimResult struct {
	Domain   string `xml:"domain"`
	Selector string `xml:"selector"`
	Result   string `xml:"result"`
}

type spfResult struct {
	Domain string `xml:"domain"`
	Scope  string `xml:"scope"`
	Result string `xml:"result"`
}

// XML is the report itself.
func (r *Report) XML() ([]byte, error) {
	f := feedback{Version: "1.0"}
	m, p := &f.Metadata, &f.Policy
	m.Organization, m.Email, m.ID, m.Generator = r.organization(), string(r.From), r.ID(), "Carteiro"
	m.Range.Begin, m.Range.End = r.Begin.Unix(), r.end().Unix()
	p.Domain, p.Discovery, p.P, p.SP, p.NP = r.Published.Domain, "treewalk", r.Published.P, r.Published.SP, r.Published.NP
	p.FO, p.ADKIM, p.ASPF, p.Testing = r.Published.FO, r.Published.ADKIM, r.Published.ASPF, "n"
	if r.Published.Testing {
		p.Testing = "y"
	}
	for _, row := range r.Rows {
		f.Records = append(f.Records, row.record())
	}
	text, err := xml.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("dmarc: report about %s: %w", r.Published.Domain, err)
	}
	return append([]byte(xml.Header), append(text, '\n')...), nil
}

func (c CountedRow) record() record {
	var out record
	out.Row.IP, out.Row.Count = c.IP, c.Count
	e := &out.Row.Evaluated
	e.Disposition, e.DKIM, e.SPF = c.Disposition, verdict(c.DKIMAligned), verdict(c.SPFAligned)
	if c.Override != "" {
		e.Reason = &reason{c.Override}
	}
	out.Identifiers.From, out.Identifiers.Envelope = c.HeaderFrom, c.EnvelopeFrom
	for _, k := range c.Keys {
		out.Results.DKIM = append(out.Results.DKIM, dkimResult(k))
	}
	if c.SPFDomain != "" {
		out.Results.SPF = &spfResult{c.SPFDomain, "mfrom", c.SPF}
	}
	return out
}

func verdict(pass bool) string {
	if pass {
		return "pass"
	}
	return "fail"
}

func (r *Report) organization() string {
	if r.Organization != "" {
		return r.Organization
	}
	return r.Hostname
}

// Messages counts what the report is about.
func (r *Report) Messages() (n int64) {
	for _, row := range r.Rows {
		n += row.Count
	}
	return n
}

// Compose returns the report's mail (RFC 9990 3.5.2): the fields of its header
// section but for To, Date and Message-ID, and its body, CRLF throughout.
func (r *Report) Compose() (fields [][2]string, body []byte, err error) {
	text, err := r.XML()
	if err != nil {
		return nil, nil, err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(text); err != nil {
		return nil, nil, fmt.Errorf("dmarc: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, nil, fmt.Errorf("dmarc: %w", err)
	}
	// Neither of the two texts can hold the boundary: one is base64, the
	// other has no line that begins with hyphens.
	const boundary = "aggregate-report"
	fields = [][2]string{
		{"From", string(r.From)},
		{"Subject", fmt.Sprintf("Report Domain: %s Submitter: %s Report-ID: <%s>", r.Published.Domain, r.Hostname, r.ID())},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", `multipart/mixed; boundary="` + boundary + `"`},
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n", boundary)
	fmt.Fprintf(&b, "DMARC aggregate report (RFC 9990) by %s:\r\n%d messages in the name of %s on %s (UTC).\r\n",
		r.Hostname, r.Messages(), r.Published.Domain, day(r.Begin))
	fmt.Fprintf(
		&b,
		"\r\n--%s\r\nContent-Type: application/gzip\r\nContent-Disposition: attachment;\r\n filename=\"%s\"\r\n"+
			"Content-Transfer-Encoding: base64\r\n\r\n",
		boundary,
		r.Filename(),
	)
	if err := mime.WriteBase64(&b, packed.Bytes()); err != nil {
		return nil, nil, fmt.Errorf("dmarc: %w", err)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return fields, b.Bytes(), nil
}
