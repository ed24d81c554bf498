package main

import (
	"testing"

	"carteiro/cmd/carteiro/internal/testserver"
)

func TestMain(m *testing.M) { testserver.Main(m, main) }
