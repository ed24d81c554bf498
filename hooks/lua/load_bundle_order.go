package lua

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"carteiro/hooks"
)

// errOrder: bundles that want to be asked after each other.
var errOrder = errors.New("the order of the bundles has a cycle")

// orderBundles gives bundles their positions: as they come, but each after those
// that it names in After. A name without a publisher means every publisher's;
// names of bundles that are not there mean nothing.
func orderBundles(sources []hooks.Source) error {
	var bundles []int // indices, in the order of the configuration
	for i := range sources {
		if sources[i].Tier == hooks.Bundle {
			bundles = append(bundles, i)
		}
	}
	slices.SortStableFunc(bundles, func(a, b int) int { return sources[a].Position - sources[b].Position })
	state := map[int]int{} // 1: being placed, 2: placed
	position := 0
	var place func(i int, path []string) error
	place = func(i int, path []string) error {
		path = append(path, sources[i].Name)
		switch state[i] {
		case 1:
			return fmt.Errorf("%w: %s", errOrder, strings.Join(path, " after "))
		case 2:
			return nil
		}
		state[i] = 1
		for _, j := range bundles {
			if j != i && slices.ContainsFunc(sources[i].After, func(name string) bool { return matchesBundleName(sources[j].Bundle, name) }) {
				if err := place(j, path); err != nil {
					return err
				}
			}
		}
		state[i] = 2
		sources[i].Position = position
		position++
		return nil
	}
	for _, i := range bundles {
		if err := place(i, nil); err != nil {
			return err
		}
	}
	return nil
}

func matchesBundleName(bundle, name string) bool {
	return bundle == name || !strings.Contains(name, "/") && strings.HasSuffix(bundle, "/"+name)
}
