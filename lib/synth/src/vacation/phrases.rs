//! Phrases: what people say who long for a vacation, and what they are called. Knows no JSON.
//!
//! Some of it is there to be a nuisance: characters that mean something in HTML (which Twitter would have sent
//! escaped), quotes, letters beyond ASCII, emoji of several code points, and a script for those who forget to
//! escape.

use crate::draws::Draw;

const WISHES: [&str; 26] = [
    "I need a vacation",
    "I really, really need a vacation",
    "Can it be vacation already?",
    "Somebody book me a flight",
    "Dreaming of a beach right now",
    "Take me anywhere but here",
    "So ready for a vacation",
    "I could use a week by the sea",
    "Counting the days until vacation",
    "Vacation, where are you?",
    "My suitcase misses me",
    "Out of office is a state of mind",
    "Wish I was on a plane right now",
    "Just looked at flights again instead of working",
    "When was my last vacation? Exactly",
    "I want to wake up somewhere else",
    "All I want is a window seat",
    "Is it too early to plan the next trip?",
    "A vacation from my vacation, please",
    "I <3 airports & I am not ashamed of it",
    "\"Just one more meeting\" they said. I need a vacation",
    "Work > vacation? Said nobody ever",
    "<b>VACATION</b>. That's it, that's the tweet",
    "Me: save money. Also me: cheap flights && a hotel with a pool",
    "¡Necesito vacaciones! I mean it",
    "<script>alert('vacation')</script> is what my brain runs all day",
];

const REASONS: [&str; 20] = [
    "",
    "this week has been so long",
    "it has been raining for nine days",
    "my boss sent a calendar invite for a Sunday",
    "everybody else seems to be at the beach",
    "the coffee machine broke again",
    "the kids are driving me up the wall",
    "finals are over at last",
    "I have 23 days off & no plan",
    "I haven't seen the sea since forever",
    "my desk lamp is the only sun I get",
    "even my plants look tired",
    "the heating is out and it's 40° inside",
    "I said \"per my last e-mail\" twice today",
    "I dream in spreadsheets",
    "my cat has been to more places than I have",
    "traffic > 2 hours again",
    "it's only Tuesday",
    "that café by the harbour won't visit itself",
    "C:\\work is full",
];

const EMOJI: [&str; 12] = [
    "🌴",
    "✈️",
    "🏖️",
    "😩",
    "🌊",
    "🍹",
    "🧳",
    "😭",
    "☀️",
    "🗽",
    "👩‍💻",
    "🙏🏽",
];

const HASHTAGS: [&str; 14] = [
    "vacation",
    "needavacation",
    "wanderlust",
    "travel",
    "beachlife",
    "getaway",
    "holiday",
    "takemeback",
    "flights",
    "mondayblues",
    "PTO",
    "roadtrip",
    "islandlife",
    "outofoffice",
];

/// First names, each with what stands for it in a screen name.
pub(super) const FIRST_NAMES: [(&str, &str); 24] = [
    ("Ava", "ava"),
    ("Liam", "liam"),
    ("Zoë", "zoe"),
    ("José", "jose"),
    ("Mia", "mia"),
    ("Noah", "noah"),
    ("Priya", "priya"),
    ("Wei", "wei"),
    ("Fatima", "fatima"),
    ("Søren", "soren"),
    ("Grace", "grace"),
    ("Omar", "omar"),
    ("Chloé", "chloe"),
    ("Diego", "diego"),
    ("Hannah", "hannah"),
    ("Kofi", "kofi"),
    ("Yuki", "yuki"),
    ("Ruth", "ruth"),
    ("Ángel", "angel"),
    ("Tess", "tess"),
    ("Marcus", "marcus"),
    ("Ingrid", "ingrid"),
    ("Dmitri", "dmitri"),
    ("Lena", "lena"),
];

/// Last names, likewise.
pub(super) const LAST_NAMES: [(&str, &str); 24] = [
    ("Smith", "Smith"),
    ("García", "Garcia"),
    ("Nguyễn", "Nguyen"),
    ("O'Brien", "OBrien"),
    ("Johnson", "Johnson"),
    ("Kim", "Kim"),
    ("Patel", "Patel"),
    ("Müller", "Muller"),
    ("Washington", "Wash"),
    ("Okafor", "Okafor"),
    ("Rossi", "Rossi"),
    ("Tanaka", "Tanaka"),
    ("Brown", "Brown"),
    ("Hernández", "Hdez"),
    ("Cohen", "Cohen"),
    ("Novák", "Novak"),
    ("Lee", "Lee"),
    ("Dubois", "Dubois"),
    ("Walker", "Walker"),
    ("Haddad", "Haddad"),
    ("Larsen", "Larsen"),
    ("Ivanova", "Ivanova"),
    ("Baker & Sons", "BakerSons"),
    ("de la Cruz", "delaCruz"),
];

/// A text and the hashtags in it.
pub(super) struct Phrase {
    pub(super) text: String,
    /// Without its `#`, with the characters it begins at and ends before.
    pub(super) hashtags: Vec<(&'static str, usize, usize)>,
}

/// Draws what somebody says: a wish, often a reason, now and then emoji, up to two hashtags.
pub(super) fn phrase(draw: &mut Draw) -> Phrase {
    let mut text = draw.pick(&WISHES).to_owned();
    let reason = draw.pick(&REASONS);
    if !reason.is_empty() {
        let ended = text.ends_with(['?', '!', '.']);
        text += if ended { " Because " } else { ", " };
        text += reason;
    }
    for _ in 0..draw.below(3) {
        text.push(' ');
        text += draw.pick(&EMOJI);
    }
    let mut hashtags: Vec<(&'static str, usize, usize)> = Vec::new();
    for _ in 0..draw.below(3) {
        let hashtag = draw.pick(&HASHTAGS);
        if hashtags.iter().any(|&(earlier, ..)| earlier == hashtag) {
            continue;
        }
        text += " #";
        text += hashtag;
        let end = text.chars().count();
        hashtags.push((hashtag, end - 1 - hashtag.chars().count(), end));
    }
    Phrase { text, hashtags }
}
