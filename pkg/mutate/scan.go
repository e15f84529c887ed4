package mutate

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// maxDepth is the nesting that encoding/json bears (its maxNestingDepth), and
// with it the API server.
const maxDepth = 10_000

// InputError says that the input is no pod: its JSON is broken, or a field has
// a type that it does not have in Kubernetes.
type InputError struct {
	Offset int    // of the offending byte, from 0
	Want   string // what belongs there
}

// Error implements error.
func (e *InputError) Error() string {
	return fmt.Sprintf("reading pod: byte %d: want %s", e.Offset, e.Want)
}

// scanner reads JSON (RFC 8259) once, from left to right, and accepts what
// json.Valid accepts. encoding/json reads a pod in two passes and with
// reflection, which alone takes twice the time that a whole patch may take.
//
// Each method reads one value, white space before it included. null is a zero
// value of any type, as in Kubernetes. The first problem stays in err, and
// what is read after it means nothing.
type scanner struct {
	data  []byte
	pos   int
	depth int
	err   *InputError
}

func (s *scanner) fail(want string) {
	if s.err == nil {
		s.err = &InputError{Offset: s.pos, Want: want}
	}
	s.pos = len(s.data)
}

// peek returns the first byte of the next value, or 0 at the end.
func (s *scanner) peek() byte {
	for i, c := range s.data[s.pos:] {
		if c > ' ' || c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			s.pos += i
			return c
		}
	}
	s.pos = len(s.data)
	return 0
}

func (s *scanner) expect(c byte) {
	if s.peek() != c {
		s.fail(strconv.QuoteRune(rune(c)))
		return
	}
	s.pos++
}

// end expects that nothing follows.
func (s *scanner) end() {
	if s.peek(); s.pos < len(s.data) {
		s.fail("nothing more")
	}
}

// object calls member with each name; member must read the value. It returns
// false for null.
func (s *scanner) object(member func(name []byte)) bool {
	return s.list('{', '}', "an object", func(int) {
		name := s.name()
		s.expect(':')
		member(name)
	})
}

// array calls element with each index; element must read the value. It returns
// false for null.
func (s *scanner) array(element func(i int)) bool {
	return s.list('[', ']', "an array", element)
}

func (s *scanner) list(open, end byte, what string, item func(i int)) bool {
	switch s.peek() {
	case open:
	case 'n':
		s.literal("null")
		return false
	default:
		s.fail(what)
		return false
	}
	if s.depth++; s.depth > maxDepth {
		s.fail("no deeper nesting")
		return false
	}
	defer func() { s.depth-- }()
	s.pos++
	if s.peek() == end {
		s.pos++
		return true
	}
	for i := 0; s.err == nil; i++ {
		item(i)
		if s.peek() == end {
			s.pos++
			break
		}
		s.expect(',')
	}
	return s.err == nil
}

// objects is array for elements that are objects; null is none, since nothing
// could be added to it.
func (s *scanner) objects(element func(i int)) bool {
	return s.array(func(i int) {
		if s.peek() != '{' {
			s.fail("an object")
			return
		}
		element(i)
	})
}

func (s *scanner) name() []byte {
	if s.peek() != '"' {
		s.fail("a name in quotes")
		return nil
	}
	return unquote(s.quoted())
}

// text reads a string.
func (s *scanner) text() string { return string(s.bytes()) }

// bytes is text for callers that keep nothing of most strings.
func (s *scanner) bytes() []byte {
	switch s.peek() {
	case '"':
		return unquote(s.quoted())
	case 'n':
		s.literal("null")
	default:
		s.fail("a string")
	}
	return nil
}

// quoted reads a string that begins here, with its quotes.
func (s *scanner) quoted() (quoted []byte, escaped bool) {
	start, i := s.pos, s.pos+1
	for ; i < len(s.data); i++ {
		switch c := s.data[i]; {
		case c == '"':
			s.pos = i + 1
			return s.data[start:s.pos], escaped
		case c == '\\':
			escaped = true
			i += s.escape(i)
		case c < ' ':
			s.pos = i
			s.fail("no control character in a string")
			return nil, false
		}
	}
	s.pos = len(s.data)
	s.fail(`a closing '"'`)
	return nil, false
}

// escape checks the escape sequence at i and returns how much follows its
// backslash.
func (s *scanner) escape(i int) int {
	rest := s.data[i+1:]
	if len(rest) > 0 {
		switch rest[0] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			return 1
		case 'u':
			if len(rest) > 4 && isHex(rest[1]) && isHex(rest[2]) && isHex(rest[3]) && isHex(rest[4]) {
				return 5
			}
		}
	}
	s.pos = i + 1
	s.fail("an escape sequence")
	return len(rest)
}

// unquote decodes what quoted has read.
func unquote(quoted []byte, escaped bool) []byte {
	if quoted == nil {
		return nil
	}
	if !escaped {
		return quoted[1 : len(quoted)-1]
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		panic("internal error: a checked string does not decode: " + err.Error())
	}
	return []byte(text)
}

func (s *scanner) boolean() bool {
	switch s.peek() {
	case 't':
		s.literal("true")
		return s.err == nil
	case 'f':
		s.literal("false")
	case 'n':
		s.literal("null")
	default:
		s.fail("true or false")
	}
	return false
}

// integer reads a whole number.
func (s *scanner) integer() int64 {
	if s.peek() == 'n' {
		s.literal("null")
		return 0
	}
	start := s.pos
	s.number()
	if s.err != nil {
		return 0
	}
	value, err := strconv.ParseInt(string(s.data[start:s.pos]), 10, 64)
	if err != nil {
		s.pos = start
		s.fail("a whole number")
	}
	return value
}

func (s *scanner) number() {
	if s.pos < len(s.data) && s.data[s.pos] == '-' {
		s.pos++
	}
	if s.pos < len(s.data) && s.data[s.pos] == '0' {
		s.pos++
	} else if !s.digits() {
		return
	}
	if s.pos < len(s.data) && s.data[s.pos] == '.' {
		if s.pos++; !s.digits() {
			return
		}
	}
	if s.pos < len(s.data) && s.data[s.pos]|0x20 == 'e' {
		s.pos++
		if s.pos < len(s.data) && (s.data[s.pos] == '+' || s.data[s.pos] == '-') {
			s.pos++
		}
		s.digits()
	}
}

// digits reads one digit or more.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && isDigit(s.data[s.pos]) {
		s.pos++
	}
	if s.pos == start {
		s.fail("a value")
		return false
	}
	return true
}

func (s *scanner) literal(word string) {
	if rest := s.data[s.pos:]; len(rest) < len(word) || string(rest[:len(word)]) != word {
		s.fail(word)
		return
	}
	s.pos += len(word)
}

// skip reads a value of any type.
func (s *scanner) skip() {
	switch s.peek() {
	case '{':
		s.list('{', '}', "an object", func(int) {
			if s.peek() != '"' {
				s.fail("a name in quotes")
			}
			s.quoted() // without decoding it: managed fields have many names with escapes
			s.expect(':')
			s.skip()
		})
	case '[':
		s.array(func(int) { s.skip() })
	case '"':
		s.quoted()
	case 't', 'f':
		s.boolean()
	case 'n':
		s.literal("null")
	default:
		s.number()
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
