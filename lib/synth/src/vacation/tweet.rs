//! Tweet: one in the JSON of Twitter's API 1.1, of somebody who longs for a vacation. Knows nothing of deals.

use std::io::Write;

use chrono::DateTime;

use crate::airports::{AIRPORTS, ELSEWHERE};
use crate::draws::{Draw, Draws, Lane};
use crate::ids::{Ids, Sort};
use crate::json::{Charset, push_string};
use crate::repeats::FARTHEST_REPEAT;
use crate::vacation::VacationParams;
use crate::vacation::phrases::{self, Phrase};

/// Where the times in tweet ids start.
pub(super) const EPOCH_MS: i64 = 1_288_834_974_657;
/// The bits of a tweet id below its time.
const SEQUENCE_BITS: u32 = 22;

const CLIENTS: [(&str, &str); 4] = [
    ("http://twitter.com/download/iphone", "Twitter for iPhone"),
    ("http://twitter.com/download/android", "Twitter for Android"),
    ("https://mobile.twitter.com", "Twitter Web App"),
    ("https://about.twitter.com/products/tweetdeck", "TweetDeck"),
];

/// A tweet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tweet {
    /// Its id: time and sequence, as Twitter's are.
    pub id: u64,
    /// Its place in the order of making.
    pub index: u64,
    /// When it is written and sent, in milliseconds after the start.
    pub at_ms: i64,
    /// When it is written, in milliseconds since 1970.
    pub created_ms: i64,
    /// What it says.
    pub text: String,
    /// Where its writer is: the join key.
    pub location: &'static str,
    /// The writer's name.
    pub name: String,
    /// How many tweets later it is sent again, if it is.
    pub repeat_after: Option<u32>,
    /// Each hashtag without its `#`, with the characters it begins at and ends before.
    hashtags: Vec<(&'static str, usize, usize)>,
    screen_name: String,
    user_id: u32,
    client: (&'static str, &'static str),
    followers: u32,
    friends: u32,
    statuses: u32,
}

/// Makes tweets.
#[derive(Clone)]
pub(super) struct Tweets {
    params: VacationParams,
    draws: Draws,
    malformed_ids: Ids,
}

impl Tweets {
    pub(super) fn new(params: &VacationParams) -> Self {
        Self {
            params: params.clone(),
            draws: Draws::new(params.seed, Lane::Tweets),
            malformed_ids: Ids::new(params.seed, params.start_ms, Sort::MalformedTweet),
        }
    }

    /// Tweet `index`, which is sent `at_ms` after the start.
    pub(super) fn at(&mut self, index: u64, at_ms: i64) -> Tweet {
        let mut draw = self.draws.at(index);
        let repeat_after = draw
            .hits(self.params.duplicates)
            .then(|| draw.between(1, FARTHEST_REPEAT));
        let created_ms = self.params.start_ms + at_ms;
        let Writer {
            name,
            screen_name,
            user_id,
        } = Writer::draw(&mut draw);
        let location = self.location(&mut draw);
        let (followers, friends) = (draw.below(5_000), draw.below(2_000));
        let (statuses, client) = (draw.between(1, 40_000), draw.pick(&CLIENTS));
        // Last, because it uses as many words as it likes.
        let Phrase { text, hashtags } = phrases::phrase(&mut draw);
        Tweet {
            id: id(created_ms, index),
            index,
            at_ms,
            created_ms,
            text,
            location,
            name,
            repeat_after,
            hashtags,
            screen_name,
            user_id,
            client,
            followers,
            friends,
            statuses,
        }
    }

    fn location(&self, draw: &mut Draw) -> &'static str {
        if draw.hits(self.params.elsewhere) {
            draw.pick(&ELSEWHERE)
        } else {
            draw.pick(&AIRPORTS).city
        }
    }

    /// The line that is no JSON beside `tweet`, if there is one. No two are alike.
    pub(super) fn malformed_beside(&self, tweet: &Tweet) -> Option<Vec<u8>> {
        let nth = self.params.malformed.nth_at(tweet.index)?;
        let unique = self.malformed_ids.at(nth);
        let line = match nth % 3 {
            0 => format!("HTTP/1.1 420 Enhance Your Calm\r\nx-request-id: {unique:016x}\r\n\r\n"),
            1 => format!("<html><body>502 Bad Gateway <!-- {unique:016x} --></body></html>"),
            // The connection broke within the tweet, behind everything that a join asks for.
            _ => return Some(cut_short(tweet.json())),
        };
        Some(line.into_bytes())
    }
}

fn cut_short(mut json: Vec<u8>) -> Vec<u8> {
    json.truncate(json.len() - 10);
    json
}

/// Unique as long as no millisecond has more than 2^22 tweets.
fn id(created_ms: i64, index: u64) -> u64 {
    let time = (created_ms - EPOCH_MS).cast_unsigned();
    time << SEQUENCE_BITS | index & ((1 << SEQUENCE_BITS) - 1)
}

/// Who writes. The same name with the same number is the same user.
struct Writer {
    name: String,
    screen_name: String,
    user_id: u32,
}

impl Writer {
    const NUMBERS: u32 = 100;

    fn draw(draw: &mut Draw) -> Self {
        let first = draw.below(phrases::FIRST_NAMES.len() as u32);
        let last = draw.below(phrases::LAST_NAMES.len() as u32);
        let number = draw.below(Self::NUMBERS);
        let (first_name, first_handle) = phrases::FIRST_NAMES[first as usize];
        let (last_name, last_handle) = phrases::LAST_NAMES[last as usize];
        let which = (first * phrases::LAST_NAMES.len() as u32 + last) * Self::NUMBERS + number;
        Self {
            name: format!("{first_name} {last_name}"),
            screen_name: format!("{first_handle}{last_handle}{number}"),
            user_id: 20_000_000 + which * 7_919,
        }
    }
}

impl Tweet {
    /// The tweet as a JSON object, all ASCII as Twitter's servers wrote it.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        let created = DateTime::from_timestamp_millis(self.created_ms)
            .expect("checked parameters keep within the calendar")
            .format("%a %b %d %H:%M:%S +0000 %Y");
        let id = self.id;
        push(
            &mut out,
            format_args!("{{\"created_at\":\"{created}\",\"id\":{id},\"id_str\":\"{id}\""),
        );
        push_field(&mut out, "text", &self.text);
        let (address, client) = self.client;
        push_field(
            &mut out,
            "source",
            &format!("<a href=\"{address}\" rel=\"nofollow\">{client}</a>"),
        );
        push(
            &mut out,
            format_args!(",\"truncated\":false,\"in_reply_to_status_id\":null,\"user\":"),
        );
        self.push_user(&mut out);
        push(
            &mut out,
            format_args!(",\"coordinates\":null,\"place\":null,\"entities\":"),
        );
        self.push_entities(&mut out);
        push(
            &mut out,
            format_args!(
                ",\"retweet_count\":0,\"favorite_count\":0,\"favorited\":false,\"retweeted\":false,\
                 \"lang\":\"en\",\"timestamp_ms\":\"{}\"}}",
                self.created_ms
            ),
        );
        out
    }

    fn push_user(&self, out: &mut Vec<u8>) {
        let id = self.user_id;
        push(out, format_args!("{{\"id\":{id},\"id_str\":\"{id}\""));
        push_field(out, "name", &self.name);
        push_field(out, "screen_name", &self.screen_name);
        push_field(out, "location", self.location);
        push(
            out,
            format_args!(
                ",\"protected\":false,\"verified\":false,\"followers_count\":{},\
                 \"friends_count\":{},\"statuses_count\":{}}}",
                self.followers, self.friends, self.statuses
            ),
        );
    }

    fn push_entities(&self, out: &mut Vec<u8>) {
        push(out, format_args!("{{\"hashtags\":["));
        for (place, (hashtag, begin, end)) in self.hashtags.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            push(
                out,
                format_args!("{comma}{{\"text\":\"{hashtag}\",\"indices\":[{begin},{end}]}}"),
            );
        }
        push(
            out,
            format_args!("],\"urls\":[],\"user_mentions\":[],\"symbols\":[]}}"),
        );
    }
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    push(out, format_args!(",\"{name}\":"));
    push_string(out, value, Charset::Ascii);
}

fn push(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory cannot fail");
}
