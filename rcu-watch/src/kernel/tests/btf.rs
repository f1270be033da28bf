//! The streaming reader, on cut-down BTF of the four kernels and on bytes that are none.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Cursor;

use super::{KERNELS, tree};
use crate::kernel::facts::layout;
use crate::kernel::read::btf::{BtfError, FoundTypes, Member, Query, function_names, search};

fn query() -> Query {
    let mut query = Query::default();
    layout::ask(&mut query);
    query.functions.extend(["bpf_fentry_test1", "arch_cpu_idle", "no_such_function"].map(str::to_owned));
    query.typedefs.insert("btf_trace_cpu_idle".to_owned());
    query
}

fn found(kernel: &str) -> FoundTypes {
    search(File::open(tree(kernel).path("/sys/kernel/btf/vmlinux")).unwrap(), &query()).unwrap()
}

#[test]
fn members_have_the_offsets_that_the_kernel_was_built_with() {
    let member = |offset_bytes, size_bytes| Some(Member { offset_bytes, size_bytes });
    assert_eq!(found("5.10").member("rcu_data", "dynticks_nesting"), member(0xf0, 8));
    assert_eq!(found("5.10").member("rcu_data", "dynticks"), member(0x100, 4));
    assert_eq!(found("6.1").member("context_tracking", "dynticks_nmi_nesting"), member(24, 8));
    assert_eq!(found("6.12").member("context_tracking", "state"), member(8, 4));
    // Inside an unnamed struct inside an unnamed union.
    assert_eq!(found("6.12").member("pcpu_hot", "preempt_count"), member(8, 4));
}

#[test]
fn variables_are_there_from_6_1_on() {
    let sizes = KERNELS.map(|kernel| found(kernel).variables.get("__preempt_count").copied());
    assert_eq!(sizes, [None, Some(4), None, Some(4)]);
}

#[test]
fn functions_and_typedefs_are_found_and_what_is_not_there_is_not() {
    for kernel in KERNELS {
        let found = found(kernel);
        assert!(found.functions.contains_key("bpf_fentry_test1"), "{kernel}");
        assert!(!found.functions.contains_key("no_such_function"), "{kernel}");
        assert!(found.typedefs.contains("btf_trace_cpu_idle"), "{kernel}");
    }
}

#[test]
fn ids_lead_back_to_names() {
    let id = found("6.1").functions["arch_cpu_idle"];
    let file = File::open(tree("6.1").path("/sys/kernel/btf/vmlinux")).unwrap();
    // The kernel also says 0 (not told) and ids of other objects.
    let names = function_names(file, &BTreeSet::from([0, id, 1_000_000])).unwrap();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), [(id, "arch_cpu_idle".to_owned())]);
}

#[test]
fn bytes_that_are_no_btf_are_refused() {
    let refused = |bytes: &[u8]| search(Cursor::new(bytes.to_vec()), &query()).unwrap_err();
    assert!(matches!(refused(&[0; 64]), BtfError::Magic(0)));
    assert!(matches!(refused(&[0x9f, 0xeb]), BtfError::Read(_)));
    let whole = std::fs::read(tree("6.1").path("/sys/kernel/btf/vmlinux")).unwrap();
    for len in [24, 40, whole.len() / 2] {
        assert!(matches!(refused(&whole[..len]), BtfError::Read(_)), "{len}");
    }
}

#[test]
fn a_kind_of_type_that_is_not_known_is_named() {
    let mut bytes = Vec::new();
    bytes.extend([0x9f, 0xeb, 1, 0]);
    for word in [24_u32, 0, 12, 12, 1, 0, 77 << 24, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.push(0);
    assert!(matches!(search(Cursor::new(bytes), &query()).unwrap_err(), BtfError::Kind(77)));
}
