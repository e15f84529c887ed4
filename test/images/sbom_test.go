package images_test

import (
	"encoding/json"
	"maps"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sbom is an SPDX 2.3 document, as far as the test looks.
type sbom struct {
	SPDXVersion       string `json:"spdxVersion"`
	DataLicense       string `json:"dataLicense"`
	SPDXID            string `json:"SPDXID"`
	Name              string `json:"name"`
	DocumentNamespace string `json:"documentNamespace"`
	CreationInfo      struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	} `json:"creationInfo"`
	Packages []struct {
		SPDXID           string     `json:"SPDXID"`
		Name             string     `json:"name"`
		VersionInfo      string     `json:"versionInfo"`
		DownloadLocation string     `json:"downloadLocation"`
		FilesAnalyzed    *bool      `json:"filesAnalyzed"`
		Checksums        []checksum `json:"checksums"`
		ExternalRefs     []struct {
			ReferenceCategory, ReferenceType, ReferenceLocator string
		} `json:"externalRefs"`
	} `json:"packages"`
	Files []struct {
		SPDXID    string     `json:"SPDXID"`
		FileName  string     `json:"fileName"`
		Checksums []checksum `json:"checksums"`
	} `json:"files"`
	Relationships []struct {
		SPDXElementID      string `json:"spdxElementId"`
		RelationshipType   string `json:"relationshipType"`
		RelatedSPDXElement string `json:"relatedSpdxElement"`
	} `json:"relationships"`
}

type checksum struct{ Algorithm, ChecksumValue string }

// checkSBOM holds an SBOM against the files of the image and what the go command
// says of its program.
func checkSBOM(t *testing.T, name, folder string, want image, architecture, digest string) {
	t.Helper()
	var got sbom
	if err := json.Unmarshal(readFile(t, name), &got); err != nil {
		t.Fatal(err)
	}
	hex := strings.TrimPrefix(digest, "sha256:")
	namespace := "https://github.com/issuer-sync/issuer-sync/spdx/" + want.name + "-" + version + "-" + architecture + "-" + hex
	if got.SPDXVersion != "SPDX-2.3" || got.DataLicense != "CC0-1.0" || got.SPDXID != "SPDXRef-DOCUMENT" ||
		got.DocumentNamespace != namespace || got.CreationInfo.Created != created || len(got.CreationInfo.Creators) != 1 {
		t.Errorf("head of the document: %s %s %s %s %+v; want namespace %s", got.SPDXVersion, got.DataLicense, got.SPDXID, got.DocumentNamespace, got.CreationInfo, namespace)
	}
	const us = "github.com/issuer-sync/issuer-sync"
	image := "localhost/issuer-sync/" + want.name
	wantURLs := map[string]string{
		us:       "pkg:golang/" + us + "@" + version,
		"stdlib": "pkg:golang/stdlib@" + strings.TrimPrefix(runtime.Version(), "go"),
		image: "pkg:oci/" + want.name + "@sha256%3A" + hex + "?arch=" + architecture +
			"&repository_url=" + url.QueryEscape(image) + "&tag=" + version,
	}
	for path, v := range modules(t, filepath.Join(folder, want.name)) {
		wantURLs[path] = "pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(v, "+", "%2B")
	}
	gotURLs := map[string]string{}
	for _, p := range got.Packages {
		if len(p.ExternalRefs) == 1 && p.ExternalRefs[0].ReferenceType == "purl" {
			gotURLs[p.Name] = p.ExternalRefs[0].ReferenceLocator
		}
		if p.FilesAnalyzed == nil || *p.FilesAnalyzed || p.VersionInfo == "" || p.DownloadLocation == "" {
			t.Errorf("package %+v: want a version, a download location, and that no files were analysed", p)
		}
		if p.Name == image && !cmp.Equal(p.Checksums, []checksum{{"SHA256", hex}}) {
			t.Errorf("checksums of the image: %v; want %s", p.Checksums, hex)
		}
	}
	// Only where dpkg notes what is installed.
	if debian := gotURLs["ca-certificates"]; debian != "" && !regexp.MustCompile(`^pkg:deb/debian/ca-certificates@20\d{6}[^+?]*\?arch=all$`).MatchString(debian) {
		t.Errorf("CA roots: %s", debian)
	}
	delete(gotURLs, "ca-certificates")
	if diff := cmp.Diff(wantURLs, gotURLs); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	got.checkFiles(t, folder, want)
	got.checkRelations(t)
}

// checkFiles holds the files that can do something against the image's.
func (s sbom) checkFiles(t *testing.T, folder string, want image) {
	t.Helper()
	names := []string{"./" + want.name, "./etc/ssl/certs/ca-certificates.crt"}
	if len(s.Files) != len(names) {
		t.Fatalf("%d files; want %q", len(s.Files), names)
	}
	for i, f := range s.Files {
		content := readFile(t, filepath.Join(folder, names[i]))
		if f.FileName != names[i] || len(f.Checksums) != 2 || f.Checksums[1] != (checksum{"SHA256", sum(content)}) {
			t.Errorf("file %+v; want %s with SHA-1 and SHA-256 %s", f, names[i], sum(content))
		}
	}
}

// checkRelations sees that identifiers are well-formed and unique (section 7.2),
// that relations name nothing else, and that all hangs on what is described.
func (s sbom) checkRelations(t *testing.T) {
	t.Helper()
	reached := map[string]bool{"SPDXRef-DOCUMENT": false}
	for _, p := range s.Packages {
		reached[p.SPDXID] = false
	}
	for _, f := range s.Files {
		reached[f.SPDXID] = false
	}
	if len(reached) != 1+len(s.Packages)+len(s.Files) {
		t.Error("two elements have the same identifier")
	}
	kinds := map[string]int{}
	for _, r := range s.Relationships {
		kinds[r.RelationshipType]++
		reached[r.RelatedSPDXElement], reached[r.SPDXElementID] = true, true
	}
	if kinds["DESCRIBES"] != 1 || kinds["CONTAINS"] != 3 {
		t.Errorf("relations %v; want one image described, which contains one module and two files", kinds)
	}
	if len(reached) != 1+len(s.Packages)+len(s.Files) {
		t.Error("a relation names an element that is not there")
	}
	wellFormed := regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`)
	for _, id := range slices.Sorted(maps.Keys(reached)) {
		if !wellFormed.MatchString(id) || !reached[id] {
			t.Errorf("element %q: in a relation %v; want it in one, and an identifier of SPDX", id, reached[id])
		}
	}
}

// modules are the dependencies that go version -m shows, with their versions.
func modules(t *testing.T, program string) map[string]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "version", "-m", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); fields[0] == "dep" {
			found[fields[1]] = fields[2]
		} else if fields[0] == "=>" {
			t.Fatalf("a module is replaced, and the test does not know how to compare that: %s", line)
		}
	}
	if len(found) < 5 {
		t.Fatalf("go version -m shows %d modules:\n%s", len(found), out)
	}
	return found
}
