package spam

import (
	"encoding/json"
	"time"
)

// wire is how features travel between a command and the server.
type wire struct {
	Key string `json:"key"`
	IDs []byte `json:"ids"` // as a sample is kept
}

// MarshalJSON writes the features so that UnmarshalJSON reads them.
func (f *Features) MarshalJSON() ([]byte, error) {
	return json.Marshal(wire{f.key, newSample(f, Ham, time.Unix(0, 0)).encode()})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (f *Features) UnmarshalJSON(b []byte) error {
	var w wire
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	s, err := decode(w.Key, w.IDs)
	if err != nil {
		return err
	}
	f.key, f.sketch, f.ids = s.key, s.sketch, s.ids
	return nil
}
