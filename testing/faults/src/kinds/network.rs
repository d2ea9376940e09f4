//! Network: links that lose everything, both ways or one, and slow ones.

use std::time::Duration;

use anyhow::Result;
use rtf_testing::Way;

use crate::kind::{Begun, Kind, Need, Wanted};
use crate::network::Group;
use crate::rows::Asker;
use crate::stage::Stage;

/// Longer than a session, and than what anybody waits for an answer.
const CUT_OFF: Duration = Duration::from_secs(9);
const SITES: [Group; 2] = [Group::East, Group::West];

const fn kind(
    name: &'static str,
    does: &'static str,
    begin: fn(&mut Stage) -> Result<Begun>,
) -> Kind {
    Kind {
        name,
        does,
        heals: "mended after 9 s",
        needs: Need::Namespaces,
        hold: CUT_OFF,
        wanted: Wanted::AfterHealing(Duration::from_secs(5)),
        begin,
    }
}

pub(crate) const KINDS: &[Kind] = &[
    kind(
        "net.site-kafka",
        "a site and all brokers hear nothing of each other",
        |stage| {
            let site = stage.pick(&SITES);
            cut(stage, &both(&[site], &Group::BROKERS))
        },
    ),
    kind(
        "net.site-to-kafka",
        "what a site sends to the brokers is lost, one way",
        |stage| {
            let site = stage.pick(&SITES);
            cut(stage, &one_way(&[site], &Group::BROKERS))
        },
    ),
    kind(
        "net.kafka-to-site",
        "what the brokers send to a site is lost, one way",
        |stage| {
            let site = stage.pick(&SITES);
            cut(stage, &one_way(&Group::BROKERS, &[site]))
        },
    ),
    kind(
        "net.sites",
        "the two sites hear nothing of each other",
        |stage| cut(stage, &both(&[Group::East], &[Group::West])),
    ),
    kind(
        "net.sites-one-way",
        "what one site sends to the other is lost, one way",
        |stage| {
            let site = stage.pick(&SITES);
            let other = if site == Group::East {
                Group::West
            } else {
                Group::East
            };
            cut(stage, &one_way(&[site], &[other]))
        },
    ),
    kind(
        "net.broker",
        "a broker and everybody else hear nothing of each other",
        |stage| {
            let broker = stage.pick(&Group::BROKERS);
            let others = [&others(broker)[..], &SITES].concat();
            cut(stage, &both(&[broker], &others))
        },
    ),
    kind(
        "net.broker-brokers",
        "a broker and the other brokers hear nothing of each other; the sites reach all",
        |stage| {
            let broker = stage.pick(&Group::BROKERS);
            cut(stage, &both(&[broker], &others(broker)))
        },
    ),
    kind(
        "net.broker-site",
        "a broker and a site hear nothing of each other",
        |stage| {
            let broker = stage.pick(&Group::BROKERS);
            let site = stage.pick(&SITES);
            cut(stage, &both(&[broker], &[site]))
        },
    ),
    Kind {
        needs: Need::Nothing,
        ..kind(
            "net.site-redis",
            "what Redis answers to a site, or is asked by it, is held back",
            |stage| {
                let asker = stage.pick(&[Asker::East, Asker::West]);
                let way = stage.pick(&[Way::Requests, Way::Answers]);
                stage.rows.proxy(asker).hold(way);
                Begun::new(format!("{asker:?} {way:?}"), move |stage| {
                    stage.rows.proxy(asker).release();
                    Ok(())
                })
            },
        )
    },
    Kind {
        wanted: Wanted::Measured,
        ..kind(
            "net.slow",
            "a site's links carry 3 Mbit/s, with up to 300 ms of it waiting",
            |stage| {
                let site = stage.pick(&SITES);
                stage.network.slow(site)?;
                Begun::new(site.name(), move |stage| stage.network.quicken(site))
            },
        )
    },
];

type Links = Vec<(Group, Group)>;

fn others(broker: Group) -> Vec<Group> {
    let others = Group::BROKERS.into_iter().filter(|other| *other != broker);
    others.collect()
}

fn one_way(from: &[Group], to: &[Group]) -> Links {
    let pairs = from.iter().flat_map(|f| to.iter().map(|t| (*f, *t)));
    pairs.collect()
}

fn both(these: &[Group], those: &[Group]) -> Links {
    [one_way(these, those), one_way(those, these)].concat()
}

fn cut(stage: &mut Stage, links: &[(Group, Group)]) -> Result<Begun> {
    for (from, to) in links {
        stage.network.cut(*from, *to)?;
    }
    let links = links.to_vec();
    let words = links
        .first()
        .map(|(from, to)| format!("{} and {}", from.name(), to.name()));
    Begun::new(words.unwrap_or_default(), move |stage| {
        let mut links = links.iter();
        links.try_for_each(|(from, to)| stage.network.mend(*from, *to))
    })
}
