//! temp


pub mod notify;
pub mod signals;
pub mod watch;

use std::path::Path;
use std::sync::Arc;

use crate::health::PlainDial;
use crate::net::{inherit::Inherited, listen};
use crate::proxy::Worker;
use crate::server::{Command, Team, thread};
use crate::snapshot::{Live, build};

/// temp
pub fn run(path: &Path) {
    let config = crate::config::load(path).unwrap_or_else(|r| panic!("{r}"));
    let snapshot = build(config, None, &mut |_, _| Ok(None)).unwrap();
    let live = Arc::new(Live::new(snapshot));
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let workers = live.load().config.server.workers.fixed().unwrap_or(2) as usize;
    for u in &live.load().upstreams {
        u.start(rt.handle(), Arc::new(PlainDial));
    }
    let (team, boxes) = Team::new(workers);
    for (n, commands) in boxes.into_iter().enumerate() {
        let live = live.clone();
        thread::start(n, team.clone(), commands, move || Worker::new(live, Default::default())).unwrap();
    }
    rt.block_on(async {
        for l in live.load().listeners() {
            for b in &l.settings.bind {
                let a: listen::Address = b.get_ref().to_string().parse().unwrap();
                for bound in listen::bind(&a, workers, Inherited::of_process()).unwrap() {
                    for (n, s) in bound.sockets.into_iter().enumerate() {
                        team.tell(n, Command::Listen(l.number, s)).await;
                    }
                }
            }
        }
        std::future::pending::<()>().await
    });
}
