//! One file's paths: what it imports, what it hands on, which modules it declares.
//!
//! The file is read as tokens, so that comments, strings and macros' bodies are what they are to the compiler. What is
//! only there for tests is left out: tests may reach up.

use std::iter::Peekable;
use std::slice::Iter;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// A path as it is written, from its first word on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub path: Vec<String>,
    pub line: usize,
}

/// A name that a `use` brings in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    /// `*` for all that is there.
    pub name: String,
    pub path: Vec<String>,
    pub is_pub: bool,
}

#[derive(Debug, Default)]
pub(super) struct Source {
    pub named: Vec<Named>,
    pub imports: Vec<Import>,
    /// Of `mod name;`.
    pub modules: Vec<String>,
}

impl Source {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let tokens: TokenStream =
            text.parse().map_err(|error| format!("line {}: {error}", line_of_error(&error)))?;
        let mut source = Self::default();
        source.block(tokens, 0);
        Ok(source)
    }

    /// What a name stands for, where a `use` of this file says so.
    pub(super) fn meaning(&self, name: &str) -> Option<&[String]> {
        self.imports.iter().find(|import| import.name == name).map(|import| import.path.as_slice())
    }

    /// A file, or what is in a pair of brackets; `depth` counts the inline modules around it.
    fn block(&mut self, tokens: TokenStream, depth: usize) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = tokens.iter().peekable();
        let mut is_pub = false;
        // After a dot or a path's own colons a word begins no path; after a range's dots or a type's colon it does.
        let mut goes_on = false;
        let mut last = ' ';
        while let Some(token) = rest.next() {
            let was_pub = std::mem::take(&mut is_pub);
            let went_on = std::mem::take(&mut goes_on);
            let before = std::mem::replace(&mut last, ' ');
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => match attribute(&mut rest) {
                    Attribute::Tests { whole_file: true } => return,
                    Attribute::Tests { whole_file: false } => skip_item(&mut rest),
                    Attribute::Other => is_pub = was_pub,
                },
                TokenTree::Punct(punct) => {
                    last = punct.as_char();
                    goes_on = matches!((before, last), (':', ':')) || (last == '.' && before != '.');
                }
                TokenTree::Ident(word) => match word.to_string().as_str() {
                    "pub" => {
                        is_pub = true;
                        rest.next_if(|next| is_group(next, Delimiter::Parenthesis));
                    }
                    "use" => {
                        let line = word.span().start().line;
                        self.tree(&mut rest, &Prefix { path: Vec::new(), line, is_pub: was_pub, depth });
                    }
                    "mod" => self.module(&mut rest, depth),
                    word_text if !went_on => {
                        let line = word.span().start().line;
                        let path = path(word_text, &mut rest);
                        if path.len() > 1 {
                            self.name(path, line, depth);
                        }
                    }
                    _ => {}
                },
                TokenTree::Group(group) => self.block(group.stream(), depth),
                TokenTree::Literal(_) => {}
            }
        }
    }

    fn module(&mut self, rest: &mut Peekable<Iter<TokenTree>>, depth: usize) {
        let Some(TokenTree::Ident(name)) = rest.next() else { return };
        match rest.next() {
            Some(TokenTree::Group(group)) => self.block(group.stream(), depth + 1),
            _ => self.modules.push(name.to_string()),
        }
    }

    /// `a::{b, c::d as e, f::*}`, up to the comma or the semicolon.
    fn tree(&mut self, rest: &mut Peekable<Iter<TokenTree>>, prefix: &Prefix) {
        let Prefix { path, line, is_pub, depth } = prefix;
        let (is_pub, depth) = (*is_pub, *depth);
        let mut path = path.clone();
        let mut line = *line;
        let mut alias = None;
        while let Some(token) = rest.next() {
            match token {
                TokenTree::Punct(punct) if matches!(punct.as_char(), ',' | ';') => break,
                TokenTree::Punct(punct) if punct.as_char() == '*' => path.push("*".to_owned()),
                TokenTree::Ident(word) if *word == "as" => alias = rest.next().map(ToString::to_string),
                TokenTree::Ident(word) => {
                    line = word.span().start().line;
                    path.push(word.to_string());
                }
                TokenTree::Group(group) => {
                    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
                    let mut inner = tokens.iter().peekable();
                    while inner.peek().is_some() {
                        self.tree(&mut inner, &Prefix { path: path.clone(), line, is_pub, depth });
                    }
                    path.clear();
                }
                _ => {}
            }
        }
        // `a::{self}` is `a`.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let Some(last) = path.last() else { return };
        let name = alias.unwrap_or_else(|| last.clone());
        if let Some(path) = self.name(path, line, depth) {
            self.imports.push(Import { name, path, is_pub });
        }
    }

    /// Notes a path, as it would be written at the top of the file.
    fn name(&mut self, path: Vec<String>, line: usize, depth: usize) -> Option<Vec<String>> {
        let supers = path.iter().take_while(|word| *word == "super").count();
        let path = match supers {
            0 => path,
            // Of an inline module of this file: it names its own file.
            supers if supers < depth => return None,
            supers => {
                let up = if supers == depth { vec!["self".to_owned()] } else { Vec::new() };
                up.into_iter().chain(path.into_iter().skip(depth)).collect()
            }
        };
        self.named.push(Named { path: path.clone(), line });
        Some(path)
    }
}

struct Prefix {
    path: Vec<String>,
    line: usize,
    is_pub: bool,
    depth: usize,
}

enum Attribute {
    Tests { whole_file: bool },
    Other,
}

/// After the `#`.
fn attribute(rest: &mut Peekable<Iter<TokenTree>>) -> Attribute {
    let inner = rest.next_if(|next| matches!(next, TokenTree::Punct(punct) if punct.as_char() == '!'));
    match rest.next_if(|next| is_group(next, Delimiter::Bracket)) {
        Some(TokenTree::Group(group)) if is_of_tests(group.stream()) => {
            Attribute::Tests { whole_file: inner.is_some() }
        }
        _ => Attribute::Other,
    }
}

/// `cfg(test)`, or `cfg(all(test, ..))`; `cfg(not(test))` is code like any other.
fn is_of_tests(attribute: TokenStream) -> bool {
    let mut tokens = attribute.into_iter();
    let is_cfg = matches!(tokens.next(), Some(TokenTree::Ident(name)) if name == "cfg");
    let Some(TokenTree::Group(condition)) = tokens.next().filter(|_| is_cfg) else { return false };
    let words = words(condition.stream());
    words.iter().any(|word| word == "test") && words.iter().all(|word| word == "test" || word == "all")
}

fn words(tokens: TokenStream) -> Vec<String> {
    let words = tokens.into_iter().flat_map(|token| match token {
        TokenTree::Ident(word) => vec![word.to_string()],
        TokenTree::Group(group) => words(group.stream()),
        _ => Vec::new(),
    });
    words.collect()
}

/// To the end of what an attribute stands before.
fn skip_item(rest: &mut Peekable<Iter<TokenTree>>) {
    for token in rest.by_ref() {
        let ends = match token {
            TokenTree::Punct(punct) => matches!(punct.as_char(), ';' | ','),
            other => is_group(other, Delimiter::Brace),
        };
        if ends {
            return;
        }
    }
}

/// The words of a path after its first, as far as colons lead on.
fn path(first: &str, rest: &mut Peekable<Iter<TokenTree>>) -> Vec<String> {
    let mut path = vec![first.to_owned()];
    loop {
        let mut ahead = rest.clone();
        let colons = matches!(ahead.next(), Some(TokenTree::Punct(punct))
            if punct.as_char() == ':' && punct.spacing() == Spacing::Joint)
            && matches!(ahead.next(), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
        match ahead.next() {
            Some(TokenTree::Ident(word)) if colons => path.push(word.to_string()),
            _ => return path,
        }
        *rest = ahead;
    }
}

fn is_group(token: &TokenTree, delimiter: Delimiter) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == delimiter)
}

fn line_of_error(error: &proc_macro2::LexError) -> usize {
    error.span().start().line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<(String, usize)> {
        let source = Source::read(text).unwrap();
        source.named.into_iter().map(|named| (named.path.join("::"), named.line)).collect()
    }

    fn one(text: &str, line: usize) -> (String, usize) {
        (text.to_owned(), line)
    }

    #[test]
    fn a_tree_of_imports_is_taken_apart() {
        let text = "pub use crate::a::{self, b::C as D,\n    e::*};\nuse super::super::f;\n";
        let expected = [
            one("crate::a", 1),
            one("crate::a::b::C", 1),
            one("crate::a::e::*", 2),
            one("super::super::f", 3),
        ];
        assert_eq!(paths(text), expected);
        let source = Source::read(text).unwrap();
        assert_eq!(source.meaning("D").unwrap(), ["crate", "a", "b", "C"]);
        assert!(source.imports.iter().filter(|import| import.is_pub).count() == 3);
    }

    #[test]
    fn a_path_in_code_or_in_a_macro_counts_and_one_in_a_comment_or_a_string_does_not() {
        let text = "/// Of crate::no::more.\nfn f(x: crate::a::B<super::C>) {\n    // crate::no\n    \
                    println!(\"crate::no {}\", kernel::d(x.len()..self::E));\n    <T as crate::e::F>::g::<h::I>();\n}\n";
        let expected = [
            one("crate::a::B", 2),
            one("super::C", 2),
            one("kernel::d", 4),
            one("self::E", 4),
            one("crate::e::F", 5),
            one("h::I", 5),
        ];
        assert_eq!(paths(text), expected);
    }

    #[test]
    fn what_is_there_for_tests_only_is_left_out() {
        let text = "#[cfg(test)]\nmod tests {\n    use crate::up;\n}\n#[cfg(test)]\nuse crate::up::A;\n\
                    #[cfg(all(test, unix))]\nfn f() { crate::up::g(); }\n#[cfg(test)]\nmod fake;\nmod real;\n\
                    #[cfg(not(test))]\nuse crate::b;\n";
        let source = Source::read(text).unwrap();
        assert_eq!(source.modules, ["real"]);
        // `unix` is more than the check understands, and then code counts.
        assert_eq!(paths(text), [one("crate::up::g", 8), one("crate::b", 13)]);
        assert!(paths("#![cfg(test)]\nuse crate::a;\n").is_empty());
    }

    #[test]
    fn an_inline_module_reaches_its_own_file_by_one_super() {
        let text = "mod inner {\n    use super::a::B;\n    use super::super::c;\n}\n";
        assert_eq!(paths(text), [one("self::a::B", 2), one("super::c", 3)]);
    }

    #[test]
    fn a_file_that_is_no_rust_is_an_error_with_its_line() {
        assert!(Source::read("fn f() {\n").unwrap_err().starts_with("line "));
    }
}
