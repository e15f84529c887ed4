module github.com/issuer-sync/issuer-sync/test/sdk/adal

go 1.26.0

require github.com/Azure/go-autorest/autorest/adal v0.9.13

require (
	github.com/Azure/go-autorest v14.2.0+incompatible // indirect
	github.com/Azure/go-autorest/autorest/date v0.3.0 // indirect
	github.com/Azure/go-autorest/logger v0.2.1 // indirect
	github.com/Azure/go-autorest/tracing v0.6.0 // indirect
	github.com/form3tech-oss/jwt-go v3.2.2+incompatible // indirect
	golang.org/x/crypto v0.0.0-20201002170205-7f63de1d35b0 // indirect
)
