//! Watches from a program of one's own: `cargo run -p rcu-watch --example embed`, as root.
//!
//! There is no command line in it. The kernel is asked, the plan made from what the kernel can do, and the run
//! ends after ten seconds with the same verdict that `rcu-watch -d 10s` would give.

use std::time::Duration;

use anyhow::{Result, bail};
use rcu_watch::kernel::{self, Request, select};
use rcu_watch::session::{self, Signals, Terms, WatchOptions};
use rcu_watch::sink;

fn main() -> Result<()> {
    let request = Request::default();
    let options = WatchOptions::default();
    let facts = kernel::probe();
    let plan = select(&facts, &request);
    if let Some(refusal) = plan.refusals.first() {
        bail!("{refusal}");
    }
    let stream = sink::stream(&options.output, options.fail_on)?;
    let terms = Terms { fail_on: options.fail_on, require: Vec::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // From here on, so that no signal closes programs that are running.
    let mut signals = {
        let _entered = runtime.enter();
        Signals::catch()?
    };
    let mut session = session::start(&facts, &request, &plan, stream, &options)?;
    let exit = runtime.block_on(async {
        let duration = Some(Duration::from_secs(10));
        let ended_by = session::run(&mut session, duration, None, &mut None, &mut signals).await?;
        session.finish(ended_by, &terms, None)
    })?;
    println!("{exit:?}");
    Ok(())
}
