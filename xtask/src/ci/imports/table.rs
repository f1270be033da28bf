//! Who may name whom: the table of docs/architecture.md, top to bottom.
//!
//! A row's module may name itself, what the row's second cell lists, and nothing else of the crate. Since a row may only
//! list rows below it, the table cannot allow an arrow up. Further cells are for the reader.

use super::tree::{Module, Tree, shown};

const HEADING: &str = "| module | may name |";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    module: Module,
    may_name: Vec<Module>,
}

impl Table {
    pub(super) fn read(page: &str) -> Result<Self, String> {
        let (_, table) = page.split_once(HEADING).ok_or_else(|| format!("no table with `{HEADING}`"))?;
        let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let rows: Vec<Row> = lines.filter_map(row).collect();
        for (at, row) in rows.iter().enumerate() {
            let above =
                row.may_name.iter().find(|name| !rows[at + 1..].iter().any(|row| row.module == **name));
            if let Some(above) = above {
                return Err(format!(
                    "{} may name {}, which is no row below it",
                    shown(&row.module),
                    shown(above)
                ));
            }
        }
        Ok(Self { rows })
    }

    /// Arrows that no row allows, and where the table and the tree are of different modules.
    pub(super) fn breaches(&self, tree: &Tree) -> Vec<String> {
        let mut breaches = Vec::new();
        for module in tree.top() {
            if self.row_of(&[module.to_owned()]).is_none() {
                breaches
                    .push(format!("{}: has no row in the table", tree.file(&[module.to_owned()]).display()));
            }
        }
        for row in self.rows.iter().filter(|row| !tree.has(&row.module)) {
            breaches.push(format!("{}: a row of the table, and no module", shown(&row.module)));
        }
        for arrow in tree.arrows() {
            let (Some(from), Some(to)) = (self.row_of(&arrow.from), self.row_of(&arrow.named)) else {
                continue;
            };
            // Within one row, or a child's own parent's face.
            let is_own = from == to || (from.module.starts_with(&to.module) && arrow.named == to.module);
            if !is_own && !from.may_name.iter().any(|may| to.module.starts_with(may)) {
                let file = tree.file(&arrow.from).display();
                let (line, from, to) = (arrow.line, shown(&from.module), shown(&to.module));
                breaches.push(format!("{file}:{line}: {from} names {to}"));
            }
        }
        breaches.dedup();
        breaches
    }

    /// The closest row around a module.
    fn row_of(&self, module: &[String]) -> Option<&Row> {
        let around = self.rows.iter().filter(|row| module.starts_with(&row.module));
        around.max_by_key(|row| row.module.len())
    }
}

/// `| `kernel::facts` | `kernel::read`, `sys` |`
fn row(line: &str) -> Option<Row> {
    let mut cells = line.trim_matches('|').split('|').map(modules);
    Some(Row { module: cells.next()?.pop()?, may_name: cells.next()? })
}

/// All that is between backticks.
fn modules(cell: &str) -> Vec<Module> {
    cell.split('`').skip(1).step_by(2).map(|name| name.split("::").map(str::to_owned).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::tree;
    use super::*;

    fn page(rows: &str) -> String {
        format!("# Architecture\n\n| module | may name |\n| --- | --- |\n{rows}\nMore.\n")
    }

    #[test]
    fn an_arrow_up_is_a_breach_and_one_that_its_row_allows_is_none() {
        let table = Table::read(&page("| `upper` | `lower` |\n| `lower` | |\n")).unwrap();
        let files =
            |lower| [("", "mod upper; mod lower;"), ("upper", "use crate::lower::L;"), ("lower", lower)];
        assert!(table.breaches(&tree(&files("use core::fmt;"))).is_empty());
        let breaches = table.breaches(&tree(&files("\nfn f(_: &crate::upper::U) {}")));
        assert_eq!(breaches, ["src/lower.rs:2: lower names upper"]);
    }

    #[test]
    fn what_else_the_page_says_of_a_module_is_passed_over() {
        let page = "| module | may name | does |\n| --- | --- | --- |\n| `upper` | `lower` | as `lower` does |\n| `lower` | | |\n";
        assert_eq!(Table::read(page), Table::read(&self::page("| `upper` | `lower` |\n| `lower` | |\n")));
    }

    #[test]
    fn a_part_may_have_a_row_of_its_own() {
        let rows = "| `kernel` | `kernel::plan`, `kernel::read` |\n| `kernel::plan` | `kernel::read` |\n\
                    | `kernel::read` | `sys` |\n| `sys` | |\n";
        let table = Table::read(&page(rows)).unwrap();
        let files = |read| {
            tree(&[
                ("", "mod kernel; mod sys;"),
                ("kernel", "mod plan; mod read;\nfn f(_: plan::P) {}"),
                ("kernel::plan", "use super::read::R;\nuse super::E;"),
                ("kernel::read", read),
                ("sys", ""),
            ])
        };
        assert!(table.breaches(&files("use crate::sys::S;")).is_empty());
        let breaches = table.breaches(&files("use super::plan::P;"));
        assert_eq!(breaches, ["src/kernel/read.rs:1: kernel::read names kernel::plan"]);
        let breaches = table.breaches(&files("use crate::sys;\nuse crate::kernel::{plan, E};"));
        assert_eq!(breaches.len(), 1, "{breaches:?}");
    }

    #[test]
    fn table_and_tree_have_the_same_modules() {
        let table = Table::read(&page("| `upper` | `lower` |\n| `lower` | |\n")).unwrap();
        let breaches = table.breaches(&tree(&[("", "mod upper; mod third;"), ("upper", ""), ("third", "")]));
        assert_eq!(
            breaches,
            ["src/third.rs: has no row in the table", "lower: a row of the table, and no module"]
        );
    }

    #[test]
    fn a_table_that_allows_an_arrow_up_is_refused() {
        let error = Table::read(&page("| `lower` | |\n| `upper` | `lower` |\n")).unwrap_err();
        assert_eq!(error, "upper may name lower, which is no row below it");
        assert!(Table::read("# Architecture\n").is_err());
    }
}
