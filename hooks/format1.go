package hooks

import "fmt"

// NumberedNames returns a name for each handler in the way of stores of format
// 1: handlers that share a name are told apart by their order.
func NumberedNames(infos []Info, name func(Info) string) []string {
	alike := map[string]int{}
	out := make([]string, len(infos))
	for n, info := range infos {
		first := name(info)
		out[n] = fmt.Sprintf("%s %d", first, alike[first])
		alike[first]++
	}
	return out
}

// NamesOfFormat1 are the names that stores of format 1 gave to handlers of
// timer.tick, and to handlers that run after the 250: by bundle, file and interval.
func NamesOfFormat1(infos []Info) []string {
	return NumberedNames(infos, func(i Info) string { return fmt.Sprintf("%s %s %v", i.Bundle, i.File, i.Every) })
}
