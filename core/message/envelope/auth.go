package envelope

// AuthResults are what was verified about who sent a message. Results are the
// words of RFC 8601: pass, fail, softfail, neutral, none, temperror, permerror,
// policy.
type AuthResults struct {
	SPF   AuthResult   `json:"spf"`
	DKIM  []AuthResult `json:"dkim"`  // one for each signature looked at
	DMARC AuthResult   `json:"dmarc"` // Policy is what the author's domain asks for
	ARC   AuthResult   `json:"arc"`   // Domain is who sealed last

	// Published is the record that DMARC used, nil without one. It is for reports
	// and not stored with the message.
	Published *DMARCRecord `json:"-"`
}

// DMARCRecord is what a domain publishes about mail in its name (RFC 9989 4.7),
// with the defaults for what it leaves out, and which results were aligned for
// one message.
type DMARCRecord struct {
	Domain      string   `json:"domain"` // where it was found
	P           string   `json:"p"`      // none, quarantine or reject, as SP and NP
	SP          string   `json:"sp"`
	NP          string   `json:"np"`
	ADKIM       string   `json:"adkim"` // r or s, as ASPF
	ASPF        string   `json:"aspf"`
	FO          string   `json:"fo"`
	Testing     bool     `json:"testing,omitempty"`
	RUA         []string `json:"rua,omitempty"` // where aggregate reports are wanted, URIs
	SPFAligned  bool     `json:"-"`
	DKIMAligned bool     `json:"-"`
}

// AuthResult is the outcome of one method.
type AuthResult struct {
	Result   string `json:"result"`
	Domain   string `json:"domain,omitempty"`
	Selector string `json:"selector,omitempty"` // DKIM
	Policy   string `json:"policy,omitempty"`   // DMARC: none, quarantine, reject
	Reason   string `json:"reason,omitempty"`
	Helo     bool   `json:"helo,omitempty"` // SPF: of the name in HELO, for the null sender
}

// BestDKIM returns the signature that counts: a passing one of the author's
// domain, else any that passes, else the first.
func (a *AuthResults) BestDKIM() AuthResult {
	best := AuthResult{Result: "none"}
	for i, s := range a.DKIM {
		if i == 0 {
			best = s
		}
		if s.Result == "pass" && (best.Result != "pass" || s.Domain == a.DMARC.Domain) {
			best = s
		}
	}
	return best
}
