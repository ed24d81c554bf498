package lua

import (
	"sync"
	"time"

	glua "github.com/yuin/gopher-lua"
)

var timeModule = module{name: "time", doc: "times are Unix seconds", functions: []function{
	{name: "now", call: timeNow, sig: "now()", doc: "the time at which the hook was called"},
	{
		name: "format",
		call: timeFormat,
		sig:  "format(t, [layout, zone])",
		doc: `the text of a time; layout is "rfc3339" (default), "rfc5322", "date" or a pattern like "%Y-%m-%d %H:%M:%S"; zone is a name ` +
			`like "Europe/Lisbon", UTC by default`,
	},
	{name: "parse", call: timeParse, sig: "parse(s, [zone])", doc: "the Unix seconds of a date or of an RFC 3339 or RFC 5322 time, or " +
		"nil"},
}}

func timeNow(L *glua.LState) int {
	st := stateOf(L)
	refuseWhileLoading(L, "time.now")
	now := st.generation.engine.Clock.Now() // of a test
	if st.call != nil {
		now = st.now()
	}
	L.Push(glua.LNumber(now.Unix()))
	return 1
}

// zone is argument n as a time zone.
func zone(L *glua.LState, n int, what string) *time.Location {
	if L.Get(n) == glua.LNil {
		return time.UTC
	}
	name := stringArgument(L, n, what, "zone")
	if loc, ok := zones.Load(name); ok {
		return loc.(*time.Location)
	}
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		L.RaiseError("%s: unknown time zone %q", what, name)
	}
	zones.Store(name, loc)
	return loc
}

// zones are those that were asked for, by name: each is a file to read. There
// are as many as the world has.
var zones sync.Map

func timeFormat(L *glua.LState) int {
	seconds := number(L, 1)
	if !(seconds > -1e11 && seconds < 1e11) {
		L.RaiseError("time.format: %s is not a time", formatNumber(seconds))
	}
	t := unixTime(seconds).In(zone(L, 3, "time.format"))
	layout := "rfc3339"
	if L.Get(2) != glua.LNil {
		layout = stringArgument(L, 2, "time.format", "layout")
	}
	var out string
	switch layout {
	case "rfc3339":
		out = t.Format(time.RFC3339)
	case "rfc5322":
		out = t.Format(time.RFC1123Z)
	case "date":
		out = t.Format(time.DateOnly)
	default:
		out = strftime(L, t, layout)
	}
	L.Push(budgetOf(L).newString(L, out))
	return 1
}

func strftime(L *glua.LState, t time.Time, layout string) string {
	if len(layout) > 200 {
		L.RaiseError("time.format: layout too long")
	}
	layouts := map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'y': "06", 'j': "002",
		'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'z': "-0700", 'Z': "MST", 'I': "03", 'p': "PM"}
	var out []byte
	for i := 0; i < len(layout); i++ {
		if layout[i] != '%' || i+1 == len(layout) {
			out = append(out, layout[i])
			continue
		}
		i++
		switch f, ok := layouts[layout[i]]; {
		case ok:
			out = t.AppendFormat(out, f)
		case layout[i] == 'w':
			out = append(out, byte('0'+t.Weekday()))
		case layout[i] == '%':
			out = append(out, '%')
		default:
			L.RaiseError("time.format: unknown %%%c in layout", layout[i])
		}
	}
	return string(out)
}

func timeParse(L *glua.LState) int {
	s := text(L, 1)
	loc := zone(L, 2, "time.parse")
	for _, layout := range []string{time.RFC3339, time.RFC1123Z, "2 Jan 2006 15:04:05 -0700", "Mon, 2 Jan 2006 15:04:05 -0700",
		time.RFC1123, time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, loc); err == nil {
			L.Push(glua.LNumber(t.Unix()))
			return 1
		}
	}
	L.Push(glua.LNil)
	return 1
}

// now returns the event's time, so that one call sees one time; while files load,
// the engine's.
func (st *state) now() time.Time {
	if st.call != nil && !st.call.event.Now.IsZero() {
		return st.call.event.Now
	}
	return st.generation.engine.Clock.Now()
}

func seconds(st *state, t time.Time) glua.LValue {
	if t.IsZero() {
		return glua.LNil
	}
	return st.number(float64(t.Unix()))
}
