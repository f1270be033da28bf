//! What looks tell of livepatches that come, move and go.

use super::*;

fn one(name: &str, enabled: bool, in_transition: bool, inode: u64) -> Livepatch {
    Livepatch { name: name.into(), enabled, in_transition, functions: Vec::new(), inode, replace: None }
}

fn patch(enabled: bool, in_transition: bool, inode: u64) -> Vec<Livepatch> {
    vec![one("p", enabled, in_transition, inode)]
}

fn whole(patches: Vec<Livepatch>) -> Found {
    Found { whole: patches, torn: Vec::new() }
}

/// Each event as its first letter, transitions with their direction.
fn letters(events: &[LivepatchEvent]) -> String {
    let letter = |happened: &LivepatchEvent| match (happened.event, happened.to_patched) {
        (Event::Load, _) => "L",
        (Event::TransitionStart, true) => "(",
        (Event::TransitionEnd, true) => ")",
        (Event::TransitionStart, false) => "[",
        (Event::TransitionEnd, false) => "]",
        (Event::Unload, _) => "U",
        (Event::Refused, _) => "R",
        (Event::Replaced, _) => "=",
    };
    events.iter().map(letter).collect()
}

/// What looks every 100 ms tell, from `seen` on.
fn told_from(mut seen: Vec<Tracked>, looks: Vec<Found>, is_live: bool) -> Vec<Vec<LivepatchEvent>> {
    let start = Instant::now();
    let look = |(number, now): (usize, Found)| {
        let mut look = Look {
            at: start + Duration::from_millis(100) * u32::try_from(number).unwrap(),
            is_live: &|_| is_live,
            refused: &|_| "its reason".to_owned(),
            all: Vec::new(),
        };
        look.track(&mut seen, now);
        look.all
    };
    looks.into_iter().enumerate().map(look).collect()
}

fn told(looks: &[Vec<Livepatch>]) -> Vec<String> {
    let looks = looks.iter().cloned().map(whole).collect();
    told_from(Vec::new(), looks, false).iter().map(|events| letters(events)).collect()
}

#[test]
fn a_livepatch_seen_at_every_step_is_told_step_by_step() {
    let looks = [
        patch(false, false, 1),
        // The transition begins before the flag is set, both ways.
        patch(false, true, 1),
        patch(true, true, 1),
        patch(true, false, 1),
        patch(true, true, 1),
        patch(false, true, 1),
        vec![],
    ];
    assert_eq!(told(&looks), ["", "", "L(", ")", "[", "", "]U"]);
}

#[test]
fn what_no_look_saw_is_told_all_the_same() {
    assert_eq!(told(&[patch(true, false, 1), vec![]]), ["L()", "[]U"]);
    assert_eq!(told(&[patch(true, false, 1), patch(true, false, 2)]), ["L()", "[]UL()"]);
    assert_eq!(told(&[patch(true, true, 1), vec![]]), ["L(", "[]U"]);
    assert_eq!(told(&[patch(true, false, 1), patch(false, false, 1)]), ["L()", "[]"]);
}

#[test]
fn a_livepatch_that_goes_without_having_been_enabled_was_refused() {
    let looks = [patch(false, false, 1), patch(false, true, 1), patch(false, false, 1), vec![]];
    assert_eq!(told(&looks), ["", "", "", "R"]);
    let again = [patch(false, true, 1), patch(true, false, 2)];
    assert_eq!(told(&again), ["", "RL()"]);
    let looks = vec![whole(patch(false, true, 1)), whole(vec![])];
    assert_eq!(told_from(Vec::new(), looks, false)[1][0].because.as_deref(), Some("its reason"));
}

#[test]
fn a_livepatch_whose_module_stays_was_loaded_however_little_was_seen_of_it() {
    let live = |looks: Vec<Vec<Livepatch>>| {
        let looks = looks.into_iter().map(whole).collect();
        let told = told_from(Vec::new(), looks, true);
        told.iter().map(|events| letters(events)).collect::<Vec<_>>()
    };
    assert_eq!(live(vec![patch(false, true, 1), patch(false, true, 1), vec![]]), ["L([", "", "]U"]);
}

#[test]
fn a_transition_that_is_reversed_begins_again() {
    let forth = [patch(true, true, 1), patch(false, true, 1), patch(false, false, 1)];
    assert_eq!(told(&forth), ["L(", "[", "]"]);
    let back = [patch(true, false, 1), patch(false, true, 1), patch(true, true, 1), patch(true, false, 1)];
    assert_eq!(told(&back), ["L()", "[", "(", ")"]);
    let unseen = [patch(true, true, 1), patch(false, false, 1)];
    assert_eq!(told(&unseen), ["L(", "[]"]);
}

#[test]
fn the_end_of_a_transition_says_how_long_it_took_or_that_no_look_saw_it() {
    let looks = [patch(true, true, 1), patch(true, true, 1), patch(true, false, 1), vec![]];
    let told = told_from(Vec::new(), looks.into_iter().map(whole).collect(), false);
    assert_eq!(told[2][0].took, Some(Duration::from_millis(200)));
    assert_eq!(told[2][0].because, None);
    assert_eq!((told[3][1].event, told[3][1].took), (Event::TransitionEnd, None));
    assert_eq!(told[3][1].because.as_deref(), Some(UNSEEN));
}

#[test]
fn a_directory_that_is_torn_is_no_event() {
    let torn = || Found { whole: vec![], torn: vec!["p".to_owned()] };
    let looks = vec![torn(), whole(patch(true, false, 1)), torn(), whole(patch(true, false, 1))];
    let told = told_from(Vec::new(), looks, false);
    assert_eq!(told.iter().map(|events| letters(events)).collect::<Vec<_>>(), ["", "L()", "", ""]);
}

#[test]
fn what_a_livepatch_replaced_was_a_directory_may_have_lost_before_it_goes() {
    let function = PatchedFunction {
        patch: "p".into(),
        object: "vmlinux".into(),
        function: "schedule".into(),
        sympos: 1,
    };
    let full = Livepatch { functions: vec![function.clone()], ..one("p", true, false, 1) };
    let looks = vec![whole(vec![full]), whole(patch(false, false, 1)), whole(vec![])];
    let told = told_from(Vec::new(), looks, false);
    assert_eq!(told[2][0].event, Event::Unload);
    assert_eq!(told[2][0].functions, [function]);
}

#[test]
fn livepatches_that_another_takes_over_are_told_as_replaced_by_it() {
    let (a, b) = (|on| one("a", on, false, 1), |on, moves| one("b", on, moves, 2));
    let looks =
        [vec![a(true)], vec![a(true), b(true, true)], vec![a(false), b(true, false)], vec![b(true, false)]];
    let told = told_from(Vec::new(), looks.into_iter().map(whole).collect(), false);
    assert_eq!(told.iter().map(|events| letters(events)).collect::<Vec<_>>(), ["L()", "L(", ")=", "U"]);
    assert_eq!(told[2][1].because.as_deref(), Some("b"));
    // Nobody saw it happen.
    let at_once = told_from(Vec::new(), vec![whole(vec![a(true)]), whole(vec![b(true, false)])], false);
    assert_eq!(letters(&at_once[1]), "L()=U");
    // One that says that it replaces none.
    let beside = Livepatch { replace: Some(false), ..b(true, false) };
    let told = told_from(Vec::new(), vec![whole(vec![a(true)]), whole(vec![beside])], false);
    assert_eq!(letters(&told[1]), "L()[]U");
}

#[test]
fn what_is_on_its_way_at_the_start_is_told_as_such_and_what_came_since_too() {
    let tree = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = tree.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let load = |name: &str, enabled: &str, transition: &str| {
        write(&format!("sys/kernel/livepatch/{name}/enabled"), enabled);
        write(&format!("sys/kernel/livepatch/{name}/transition"), transition);
        write(&format!("sys/kernel/livepatch/{name}/demo/run,1/x"), "");
    };
    load("moving", "1", "1");
    let at_start = find(&tree.path().join("sys/kernel/livepatch")).unwrap().whole;
    load("new", "1", "0");
    write("sys/module/demo/initstate", "live\n");
    let mut livepatches = Livepatches::new(Tree::under(tree.path()), &at_start);
    let News { events, objects_moved } = livepatches.look();
    assert_eq!(letters(&events), "(L()");
    assert_eq!((events[0].patch.as_str(), events[0].because.as_deref()), ("moving", Some(UNDER_WAY)));
    assert!(!objects_moved);
    assert_eq!(livepatches.look(), News::default());
    load("moving", "1", "0");
    std::fs::remove_dir_all(tree.path().join("sys/module/demo")).unwrap();
    let News { events, objects_moved } = livepatches.look();
    assert_eq!((letters(&events).as_str(), events[0].took), (")", None));
    assert!(objects_moved);
}
