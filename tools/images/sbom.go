package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"runtime/debug"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdxlib"
)

const unknown = "NOASSERTION"

// bill is an SPDX document that grows. https://spdx.github.io/spdx-spec/v2.3/
type bill struct {
	document *spdx.Document
}

// writeSBOM writes what is in the image of one platform: the program with every
// module that is linked into it, the Go toolchain's library, and the CA roots.
func (b *builder) writeSBOM(path string, p program, platform v1.Platform, digest, binary string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("reading the modules of %s: %w", p.name, err)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("summing up %s: %w", p.name, err)
	}
	s := b.newBill(p, platform, digest)
	image := s.addImage(b, p, platform, digest)
	main := s.addModules(b, info)
	s.relate(image, common.TypeRelationshipContains, main)
	s.relate(s.addFile(p.path(), "BINARY", content), common.TypeRelationshipGeneratedFrom, main)
	s.relate(image, common.TypeRelationshipContains, "File-"+identifier(p.path()))
	s.relate(image, common.TypeRelationshipContains, s.addFile(rootsPath, "TEXT", b.roots.pem))
	if b.roots.Debian != "" {
		s.relate("File-"+identifier(rootsPath), common.TypeRelationshipGeneratedFrom, s.addDebianRoots(b.roots.Debian))
	}
	if err := spdxlib.ValidateDocument(s.document); err != nil {
		return fmt.Errorf("checking the SBOM of %s: %w", p.name, err)
	}
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing SBOM: %w", err)
	}
	defer file.Close()
	if err := spdxjson.Write(s.document, file, spdxjson.Indent("  "), spdxjson.EscapeHTML(false)); err != nil {
		return fmt.Errorf("writing SBOM: %w", err)
	}
	return file.Close()
}

// newBill begins a document. Its namespace is its own as the image's digest is,
// section 6.5, and the same on every rebuild.
func (b *builder) newBill(p program, platform v1.Platform, digest string) bill {
	return bill{&spdx.Document{
		SPDXVersion:       spdx.Version,
		DataLicense:       spdx.DataLicense,
		SPDXIdentifier:    "DOCUMENT",
		DocumentName:      fmt.Sprintf("%s %s", b.tag(p), platform),
		DocumentNamespace: fmt.Sprintf("%s/spdx/%s-%s-%s-%s", source, p.name, b.version, platform.Architecture, strings.TrimPrefix(digest, "sha256:")),
		CreationInfo: &spdx.CreationInfo{
			Created:  timestamp(b.created),
			Creators: []common.Creator{{CreatorType: "Tool", Creator: project + "/tools/images"}},
		},
	}}
}

// addImage adds what the document describes.
func (s bill) addImage(b *builder, p program, platform v1.Platform, digest string) string {
	id := s.addPackage(spdx.Package{
		PackageName:           b.repository + "/" + p.name,
		PackageVersion:        b.version,
		PrimaryPackagePurpose: "CONTAINER",
		PackageChecksums:      []common.Checksum{{Algorithm: common.SHA256, Value: strings.TrimPrefix(digest, "sha256:")}},
	}, "Image", fmt.Sprintf("pkg:oci/%s@%s?arch=%s&repository_url=%s&tag=%s", p.name,
		url.QueryEscape(digest), platform.Architecture, url.QueryEscape(b.repository+"/"+p.name), url.QueryEscape(b.version)))
	s.relate("DOCUMENT", common.TypeRelationshipDescribe, id)
	return id
}

// addModules adds the main module and what it is linked with.
func (s bill) addModules(b *builder, info *debug.BuildInfo) string {
	main := s.addPackage(spdx.Package{
		PackageName:             info.Main.Path,
		PackageVersion:          b.version, // go build knows none
		PackageLicenseDeclared:  license,
		PackageDownloadLocation: "git+" + source,
		PrimaryPackagePurpose:   "APPLICATION",
	}, identifier(info.Main.Path), modulePURL(info.Main.Path, b.version))
	for _, dependency := range info.Deps {
		if dependency.Replace != nil {
			dependency = dependency.Replace
		}
		s.relate(main, common.TypeRelationshipDependsOn, s.addPackage(spdx.Package{
			PackageName:           dependency.Path,
			PackageVersion:        dependency.Version,
			PrimaryPackagePurpose: "LIBRARY",
		}, identifier(dependency.Path+"-"+dependency.Version), modulePURL(dependency.Path, dependency.Version)))
	}
	version := strings.TrimPrefix(info.GoVersion, "go")
	s.relate(main, common.TypeRelationshipDependsOn, s.addPackage(spdx.Package{
		PackageName:            "stdlib",
		PackageVersion:         version,
		PackageLicenseDeclared: "BSD-3-Clause",
		PrimaryPackagePurpose:  "LIBRARY",
		PackageComment:         "the Go toolchain that compiled the program, and its library",
	}, "Go-"+identifier(version), modulePURL("stdlib", version)))
	return main
}

// addDebianRoots adds the package that the CA roots were taken from.
func (s bill) addDebianRoots(version string) string {
	return s.addPackage(spdx.Package{
		PackageName:           "ca-certificates",
		PackageVersion:        version,
		PrimaryPackagePurpose: "SOURCE",
	}, "Debian-ca-certificates", "pkg:deb/debian/ca-certificates@"+url.QueryEscape(version)+"?arch=all")
}

// addPackage fills in what has to be there, and returns the package's identifier.
func (s bill) addPackage(p spdx.Package, id, purl string) string {
	p.PackageSPDXIdentifier = common.ElementID("Package-" + id)
	if p.PackageDownloadLocation == "" {
		p.PackageDownloadLocation = unknown
	}
	if p.PackageLicenseDeclared == "" {
		p.PackageLicenseDeclared = unknown
	}
	p.PackageLicenseConcluded, p.PackageCopyrightText = unknown, unknown
	p.PackageExternalReferences = []*spdx.PackageExternalReference{{
		Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: purl,
	}}
	s.document.Packages = append(s.document.Packages, &p)
	return string(p.PackageSPDXIdentifier)
}

// addFile adds a file of the image by its path in it, and returns its identifier.
func (s bill) addFile(path, kind string, content []byte) string {
	// SPDX wants SHA-1 of every file, section 8.4.
	sum1, sum256 := sha1.Sum(content), sha256.Sum256(content)
	id := "File-" + identifier(path)
	s.document.Files = append(s.document.Files, &spdx.File{
		FileName:           "." + path,
		FileSPDXIdentifier: common.ElementID(id),
		FileTypes:          []string{kind},
		LicenseConcluded:   unknown,
		FileCopyrightText:  unknown,
		Checksums: []common.Checksum{
			{Algorithm: common.SHA1, Value: hex.EncodeToString(sum1[:])},
			{Algorithm: common.SHA256, Value: hex.EncodeToString(sum256[:])},
		},
	})
	return id
}

func (s bill) relate(from, relation, to string) {
	s.document.Relationships = append(s.document.Relationships, &spdx.Relationship{
		RefA: common.MakeDocElementID("", from), Relationship: relation, RefB: common.MakeDocElementID("", to),
	})
}

// identifier makes an SPDX identifier of a text, section 7.2.
func identifier(text string) string {
	return strings.Trim(regexp.MustCompile(`[^A-Za-z0-9.]+`).ReplaceAllString(text, "-"), "-")
}

// modulePURL is the package URL of a Go module: path in lower case, version
// escaped. https://github.com/package-url/purl-spec/blob/main/types-doc/golang-definition.md
func modulePURL(path, version string) string {
	return "pkg:golang/" + strings.ToLower(path) + "@" + url.QueryEscape(version)
}
