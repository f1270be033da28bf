//! A crate's modules, file by file, and which file names which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

use super::source::{Named, Source};

/// Its path in the crate; the crate's root is the empty one.
pub(super) type Module = Vec<String>;

/// Aliases of aliases: more than this is a circle.
const ALIASES_MAX: usize = 16;

/// A crate: every module that is a file.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<Module, (PathBuf, Source)>,
}

/// A file names a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrow {
    pub from: Module,
    /// As it is written: the module that was named.
    pub named: Module,
    /// Where what was named lives; another one where a module hands it on.
    pub to: Module,
    pub line: usize,
}

impl Tree {
    /// From the root's file, as the compiler finds them; files are named from `top` on.
    pub(super) fn read(root: &Path, top: &Path) -> Result<Self> {
        let mut tree = Self::default();
        let mut next = vec![(Module::new(), root.to_owned())];
        while let Some((module, file)) = next.pop() {
            let text = fs::read_to_string(top.join(&file))
                .with_context(|| format!("cannot read {}", file.display()))?;
            let source = Source::read(&text).map_err(|why| anyhow!("{}: {why}", file.display()))?;
            let directory = file.parent().unwrap_or(&file);
            for child in source.modules.iter().filter(|child| *child != "tests") {
                let path = [directory.join(format!("{child}.rs")), directory.join(child).join("mod.rs")];
                let path = path.into_iter().find(|path| top.join(path).is_file());
                let path = path.with_context(|| format!("{}: no file for mod {child}", file.display()))?;
                next.push((joined(&module, child), path));
            }
            tree.files.insert(module, (file, source));
        }
        Ok(tree)
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn file(&self, module: &[String]) -> &Path {
        self.files.get(module).map_or(Path::new(""), |(file, _)| file)
    }

    /// The modules right below the root.
    pub(super) fn top(&self) -> BTreeSet<&str> {
        self.files.keys().filter_map(|module| module.first()).map(String::as_str).collect()
    }

    pub(super) fn has(&self, module: &[String]) -> bool {
        self.files.contains_key(module)
    }

    /// Everything that is named, within a file left out.
    pub(super) fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = Vec::new();
        for (from, (_, source)) in &self.files {
            for Named { path, line } in &source.named {
                let Some(path) = self.absolute(from, source, path) else { continue };
                let named = self.walk(&path);
                let to = self.home(&path, 0);
                if named != *from || to != *from {
                    arrows.push(Arrow { from: from.clone(), named, to, line: *line });
                }
            }
        }
        arrows
    }

    /// From the crate's root; `None` for a path into another crate.
    fn absolute(&self, from: &[String], source: &Source, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([from, rest].concat()),
            "super" => {
                let supers = path.iter().take_while(|word| *word == "super").count();
                let up = from.len().checked_sub(supers)?;
                Some([&from[..up], &path[supers..]].concat())
            }
            name if self.has(&joined(from, name)) => Some([from, path].concat()),
            name => match source.meaning(name) {
                // An import that names itself is one of another crate.
                Some(meaning) if meaning.first().is_some_and(|word| word != name) => {
                    Some([self.absolute(from, source, meaning)?.as_slice(), rest].concat())
                }
                _ => None,
            },
        }
    }

    /// The deepest module on the way.
    fn walk(&self, path: &[String]) -> Module {
        let deepest = (0..=path.len()).rev().find(|&count| self.has(&path[..count])).unwrap_or(0);
        path[..deepest].to_vec()
    }

    /// The module in which what is named is written, past those that only hand it on.
    fn home(&self, path: &[String], aliases: usize) -> Module {
        let module = self.walk(path);
        let rest = &path[module.len()..];
        let (Some(name), Some((_, source))) = (rest.first(), self.files.get(&module)) else { return module };
        let handed_on = source.imports.iter().find(|import| import.is_pub && import.name == *name);
        let target = handed_on.and_then(|import| self.absolute(&module, source, &import.path));
        match target {
            Some(target) if aliases < ALIASES_MAX => {
                self.home(&[target.as_slice(), &rest[1..]].concat(), aliases + 1)
            }
            _ => module,
        }
    }
}

fn joined(module: &[String], child: &str) -> Module {
    module.iter().cloned().chain([child.to_owned()]).collect()
}

/// `crate` for the root.
pub(super) fn shown(module: &[String]) -> String {
    if module.is_empty() { "crate".to_owned() } else { module.join("::") }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// By module, with `::` between; the root is the empty name.
    pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
        let files = files.iter().map(|(module, text)| {
            let file = PathBuf::from(format!("src/{}.rs", module.replace("::", "/")));
            (module_of(module), (file, Source::read(text).unwrap()))
        });
        Tree { files: files.collect() }
    }

    pub(crate) fn module_of(name: &str) -> Module {
        name.split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn a_path_leads_to_the_file_where_what_it_names_is_written() {
        let tree = tree(&[
            ("", "mod a; mod b; mod c;"),
            ("a", "use crate::b::Thing;\nuse crate::b;\nuse b::d::Other;\nuse std::fs;\nuse fs::File;\n"),
            ("b", "mod d;\npub use d::Thing;\n"),
            ("b::d", "use super::super::c::X;\nuse super::Thing;\n"),
            ("c", ""),
        ]);
        let arrows: Vec<(String, String, String, usize)> = tree
            .arrows()
            .iter()
            .map(|arrow| (shown(&arrow.from), shown(&arrow.named), shown(&arrow.to), arrow.line))
            .collect();
        let of = |from: &str, named: &str, to: &str, line| (from.into(), named.into(), to.into(), line);
        assert_eq!(
            arrows,
            [
                of("a", "b", "b::d", 1),
                of("a", "b", "b", 2),
                of("a", "b::d", "b::d", 3),
                of("b", "b::d", "b::d", 2),
                of("b::d", "c", "c", 1),
                of("b::d", "b", "b::d", 2),
            ]
        );
    }

    #[test]
    fn modules_are_found_where_the_compiler_finds_them() {
        let src = tempfile::tempdir().unwrap();
        fs::create_dir_all(src.path().join("b/tests")).unwrap();
        for (file, text) in [
            ("lib.rs", "mod a;\nmod b;\n"),
            ("a.rs", ""),
            ("b/mod.rs", "mod c;\nmod tests;\n"),
            ("b/c.rs", "use crate::a;\n"),
            ("b/tests/mod.rs", "use crate::a;\n"),
        ] {
            fs::write(src.path().join(file), text).unwrap();
        }
        let tree = Tree::read(Path::new("lib.rs"), src.path()).unwrap();
        assert_eq!(
            tree.files.keys().map(|module| shown(module)).collect::<Vec<_>>(),
            ["crate", "a", "b", "b::c"]
        );
        assert_eq!(tree.arrows().len(), 1);
        fs::write(src.path().join("a.rs"), "mod nowhere;\n").unwrap();
        assert!(Tree::read(Path::new("lib.rs"), src.path()).unwrap_err().to_string().contains("mod nowhere"));
    }
}
