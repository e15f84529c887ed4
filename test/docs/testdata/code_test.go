package testdata

func test() { log.Info("tested") }
