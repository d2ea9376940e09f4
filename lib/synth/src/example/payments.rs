//! Payments, and the orders they are for: what stands in them.

use super::{KEY_WORDS, Names, PAYMENTS, Theme, Words, cents};
use crate::draws::Draw;

pub(super) const THEME: Theme = Theme {
    join: PAYMENTS,
    foreign: Words {
        names: Names {
            id: "payment_id",
            key: "order_id",
        },
        id_prefix: "pay-",
        rest: payment,
    },
    primary: Words {
        names: Names {
            id: "order_id",
            key: "order_id",
        },
        id_prefix: "",
        rest: order,
    },
    key_prefix: "ord-",
};

const METHODS: [&str; 4] = ["card", "transfer", "cash", "voucher"];
const CURRENCIES: [&str; 4] = ["EUR", "USD", "GBP", "JPY"];
const CUSTOMERS: [&str; 8] = [
    "Ada", "Björn", "Chidi", "Dolores", "Elif", "Farid", "Grace", "Hiroko",
];
const COUNTRIES: [&str; 6] = ["DE", "US", "GB", "TR", "NG", "JP"];

/// What an order costs: both sides say so.
fn price(mut key: Draw) -> String {
    key.skip_to(KEY_WORDS);
    let (total, currency) = (key.between(199, 49_999), key.pick(&CURRENCIES));
    format!("{},\"currency\":\"{currency}\"", cents(total))
}

fn payment(key: Draw, mut own: Draw) -> String {
    let (amount, method) = (price(key), own.pick(&METHODS));
    format!(",\"amount\":{amount},\"method\":\"{method}\"")
}

fn order(key: Draw, mut own: Draw) -> String {
    let total = price(key);
    let (customer, items) = (own.pick(&CUSTOMERS), own.between(1, 9));
    let country = own.pick(&COUNTRIES);
    format!(
        ",\"total\":{total},\"customer\":\"{customer}\",\"items\":{items},\"ship_to\":\"{country}\""
    )
}
