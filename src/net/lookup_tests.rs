use super::{ASKED, HANGING, LOOKUPS, Lookup, Resolver};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::time::timeout;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// What the configured servers say.
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8));

/// Knows every name but those that begin with a dash, and is not yet through with those; counts what it is asked at a time.
/// So it is with the servers.
#[derive(Clone, Default)]
struct Slow(Arc<AtomicUsize>);

impl Resolver for Slow {
    async fn find(&self, name: String) -> Vec<IpAddr> {
        self.0.fetch_add(1, Ordering::SeqCst);
        if name.starts_with('-') {
            std::future::pending::<()>().await;
        }
        vec![HERE]
    }

    async fn ask(&self, name: &str) -> Option<Vec<IpAddr>> {
        if name.starts_with('-') {
            std::future::pending::<()>().await;
        }
        (name != "silent").then(|| vec![THERE])
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(test);
}

fn lookup() -> (Slow, Arc<Lookup<Slow>>) {
    let slow = Slow::default();
    (slow.clone(), Arc::new(Lookup::by(slow, Duration::from_millis(20))))
}

/// Asks for names that hang, one after the other, until the resolver was asked so often.
async fn hang((slow, lookup): &(Slow, Arc<Lookup<Slow>>), asked: usize) {
    let all = async {
        for n in 0.. {
            if slow.0.load(Ordering::SeqCst) == asked {
                break;
            }
            let lookup = Arc::clone(lookup);
            tokio::spawn(async move { lookup.addresses(&format!("-{n}")).await });
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(30), all).await.expect("they get their turns");
}

#[test]
fn lookups_that_hang_give_their_turns_to_others() {
    run(async {
        let both = lookup();
        hang(&both, 2 * LOOKUPS).await;
        assert_eq!(timeout(Duration::from_secs(5), both.1.addresses("fine")).await, Ok(Some(vec![HERE])));
    });
}

#[test]
fn they_are_bounded_and_nobody_else_waits_for_their_end() {
    run(async {
        let both = lookup();
        let addresses = async |name| timeout(Duration::from_secs(5), both.1.addresses(name)).await.expect("answered");
        assert_eq!(addresses("known").await, Some(vec![HERE]));
        hang(&both, 1 + HANGING + LOOKUPS).await;
        assert_eq!(addresses("new").await, Some(vec![THERE]), "all turns are taken");
        assert_eq!(addresses("silent").await, None);
        assert_eq!(addresses("-too").await, None);
        assert_eq!(both.0.0.load(Ordering::SeqCst), 1 + HANGING + LOOKUPS, "threads at one time");
        // Not by what is kept for a moment.
        both.1.recent.lock().expect("lock").clear();
        assert_eq!(addresses("known").await, Some(vec![HERE]), "it has a turn all the same");
    });
}

#[test]
fn who_asks_again_waits_for_the_same_answer_until_it_is_old() {
    // In no time everything is old.
    let lookup = Lookup::by(Slow::default(), Duration::ZERO);
    let first = lookup.answer("new");
    assert!(Arc::ptr_eq(&first, &lookup.answer("new")), "it has no answer yet");
    first.set((Instant::now(), None)).expect("nobody looks for it");
    assert!(!Arc::ptr_eq(&first, &lookup.answer("new")));
}

#[test]
fn of_servers_that_are_asked_the_oldest_question_is_called_off() {
    run(async {
        // With that much patience, none ends by itself.
        let lookup = Arc::new(Lookup::by(Slow::default(), Duration::from_secs(3600)));
        let ask = |name: &'static str| {
            let lookup = Arc::clone(&lookup);
            tokio::spawn(async move { lookup.ask(name).await })
        };
        let first = ask("-first");
        let others: Vec<_> = (1..ASKED).map(|_| ask("-other")).collect();
        tokio::task::yield_now().await;
        assert_eq!(lookup.ask("new").await, Some(vec![THERE]));
        assert_eq!(timeout(Duration::from_secs(5), first).await.expect("called off").expect("task"), None);
        assert!(!others.iter().any(tokio::task::JoinHandle::is_finished));
    });
}
