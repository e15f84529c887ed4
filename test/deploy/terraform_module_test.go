package deploy_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// module is what the .tf files of one folder say.
type module struct {
	files map[string]*hclsyntax.Body
	// blocks are by their address: "var.x", "output.x", "module.x", "local.x" and,
	// of resources, "type.name".
	blocks map[string]*hclsyntax.Block
	locals map[string]*hclsyntax.Attribute
	// problems are those of the parser and the formatter.
	problems []string
}

// readModule parses a folder's files as Terraform does.
func readModule(t *testing.T, folder string) module {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, folder, "*.tf"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("finding .tf files in %s: %v", folder, err)
	}
	sources := map[string]string{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sources[filepath.Base(path)] = string(content)
	}
	return parseModule(sources)
}

// parseModule parses files by their name.
func parseModule(sources map[string]string) module {
	m := module{files: map[string]*hclsyntax.Body{}, blocks: map[string]*hclsyntax.Block{}, locals: map[string]*hclsyntax.Attribute{}}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		source := []byte(sources[name])
		file, diagnostics := hclsyntax.ParseConfig(source, name, hcl.InitialPos)
		if diagnostics.HasErrors() {
			m.problems = append(m.problems, diagnostics.Error())
			continue
		}
		if formatted := hclwrite.Format(source); string(formatted) != string(source) {
			m.problems = append(m.problems, name+" is not formatted: terraform fmt")
		}
		m.files[name] = file.Body.(*hclsyntax.Body)
		for _, block := range m.files[name].Blocks {
			m.declare(block)
		}
	}
	return m
}

func (m module) declare(block *hclsyntax.Block) {
	switch block.Type {
	case "variable":
		m.blocks["var."+block.Labels[0]] = block
	case "output", "module":
		m.blocks[block.Type+"."+block.Labels[0]] = block
	case "resource":
		m.blocks[strings.Join(block.Labels, ".")] = block
	case "locals":
		for name, attribute := range block.Body.Attributes {
			m.locals["local."+name] = attribute
		}
	}
}

// all returns the addresses of one kind, such as "var.".
func (m module) all(prefix string) (found []string) {
	for address := range m.blocks {
		if strings.HasPrefix(address, prefix) {
			found = append(found, address)
		}
	}
	return slices.Sorted(slices.Values(found))
}

// references returns where each address is used, from all expressions.
func (m module) references() map[string]hcl.Range {
	found := map[string]hcl.Range{}
	for _, body := range m.files {
		eachAttribute(body, func(_ *hclsyntax.Block, attribute *hclsyntax.Attribute) {
			for _, traversal := range hclsyntax.Variables(attribute.Expr) {
				if len(traversal) < 2 {
					continue
				}
				if step, ok := traversal[1].(hcl.TraverseAttr); ok {
					found[traversal.RootName()+"."+step.Name] = traversal.SourceRange()
				}
			}
		})
	}
	return found
}

// eachAttribute visits a body's attributes, those of nested blocks included.
func eachAttribute(body *hclsyntax.Body, visit func(*hclsyntax.Block, *hclsyntax.Attribute)) {
	var inside func(*hclsyntax.Block, *hclsyntax.Body)
	inside = func(block *hclsyntax.Block, body *hclsyntax.Body) {
		for _, attribute := range body.Attributes {
			visit(block, attribute)
		}
		for _, nested := range body.Blocks {
			inside(nested, nested.Body)
		}
	}
	inside(nil, body)
}

// check returns what Terraform would complain of, or a reader: references to
// nothing, what is declared and not used, what has no description.
func (m module) check() []string {
	problems := slices.Clone(m.problems)
	used := m.references()
	for address, at := range used {
		kind, _, _ := strings.Cut(address, ".")
		switch {
		case kind == "each" || kind == "count" || kind == "path":
		case m.blocks[address] == nil && m.locals[address] == nil:
			problems = append(problems, fmt.Sprintf("%s: %s is not declared", at, address))
		}
	}
	for _, address := range slices.Concat(m.all("var."), slices.Sorted(maps.Keys(m.locals))) {
		if _, ok := used[address]; !ok {
			problems = append(problems, address+" is not used")
		}
	}
	for _, address := range slices.Concat(m.all("var."), m.all("output.")) {
		if m.blocks[address].Body.Attributes["description"] == nil {
			problems = append(problems, address+" has no description")
		}
	}
	for _, address := range m.all("var.") {
		if m.blocks[address].Body.Attributes["type"] == nil {
			problems = append(problems, address+" has no type")
		}
	}
	return append(problems, m.checkResources()...)
}

// checkResources compares resources, and what is read of them, with the
// provider's documentation.
func (m module) checkResources() (problems []string) {
	for _, address := range m.all("azurerm_") {
		kind, _, _ := strings.Cut(address, ".")
		schema, ok := resources()[kind]
		if !ok {
			problems = append(problems, address+": there is no schema of "+kind+" in this test")
			continue
		}
		for _, problem := range schema.check(m.blocks[address].Body) {
			problems = append(problems, address+": "+problem)
		}
	}
	for _, body := range m.files {
		eachAttribute(body, func(_ *hclsyntax.Block, attribute *hclsyntax.Attribute) {
			for _, traversal := range hclsyntax.Variables(attribute.Expr) {
				if schema, ok := resources()[traversal.RootName()]; ok {
					problems = append(problems, schema.checkRead(traversal)...)
				}
			}
		})
	}
	return problems
}

// checkCall compares a module's call with the module.
func checkCall(call *hclsyntax.Block, callee module) (problems []string) {
	for name := range call.Body.Attributes {
		if name != "source" && callee.blocks["var."+name] == nil {
			problems = append(problems, "the module has no variable "+name)
		}
	}
	for _, address := range callee.all("var.") {
		name := strings.TrimPrefix(address, "var.")
		if callee.blocks[address].Body.Attributes["default"] == nil && call.Body.Attributes[name] == nil {
			problems = append(problems, "the module wants "+name)
		}
	}
	return problems
}
