//! The page of a branch's business application: the requests of its tills as histograms, and what the business counts.

use super::page::Page;
use super::value::{Motion, Unit};

/// Upper bounds, and how many of 65,536 requests are that fast.
const BUCKETS: [(&str, u32); 12] = [
    ("0.005", 2_000),
    ("0.01", 9_000),
    ("0.025", 24_000),
    ("0.05", 41_000),
    ("0.1", 55_000),
    ("0.25", 62_000),
    ("0.5", 64_200),
    ("1", 65_100),
    ("2.5", 65_400),
    ("5", 65_500),
    ("10", 65_530),
    ("+Inf", 65_536),
];

/// All of it.
pub(crate) fn page() -> Page {
    let mut page = Page::default();
    page.add("up", &[], Motion::Constant(1.0));
    page.add(
        "scrape_duration_seconds",
        &[],
        Motion::Noise {
            spread: 9_000_000,
            unit: Unit::Nanos,
        },
    );
    for (route, rate) in [
        ("/sale", 160),
        ("/sale/void", 2),
        ("/price", 480),
        ("/stock", 75),
        ("/customer", 20),
        ("/report", 0),
    ] {
        for method in ["GET", "POST"] {
            requests(&mut page, &[("method", method), ("route", route)], rate);
        }
    }
    business(&mut page);
    page
}

/// One histogram. Its count stands first here, so that the buckets can follow it.
fn requests(page: &mut Page, labels: &[(&'static str, &str)], rate: u32) {
    const NAME: &str = "till_http_request_duration_seconds";
    let still = rate == 0;
    let or_still = |motion| if still { Motion::Constant(0.0) } else { motion };
    page.add(
        format!("{NAME}_count"),
        labels,
        or_still(Motion::Observations { rate }),
    );
    let time = Motion::Counter {
        rate: rate * 60,
        unit: Unit::Millis,
    };
    page.add(format!("{NAME}_sum"), labels, or_still(time));
    for (bound, share) in BUCKETS {
        let mut labels = labels.to_vec();
        labels.push(("le", bound));
        page.add(
            format!("{NAME}_bucket"),
            &labels,
            or_still(Motion::Bucket { share }),
        );
    }
}

fn business(page: &mut Page) {
    for till in 1..=12 {
        let till = format!("{till:02}");
        let open = till.as_str() < "09";
        let or_closed = |motion| if open { motion } else { Motion::Constant(0.0) };
        for payment in ["card", "cash", "voucher"] {
            let labels = [("payment", payment), ("till", till.as_str())];
            let sales = if payment == "voucher" {
                Motion::Rare { one_in: 30 }
            } else {
                Motion::Counter {
                    rate: 2,
                    unit: Unit::One,
                }
            };
            page.add("till_sales_total", &labels, or_closed(sales));
            let revenue = Motion::Counter {
                rate: 4_700,
                unit: Unit::Hundredths,
            };
            page.add("till_revenue_euros_total", &labels, or_closed(revenue));
        }
        let labels = [("till", till.as_str())];
        page.add(
            "till_drawer_euros",
            &labels,
            or_closed(Motion::Walk {
                step: 2_000,
                unit: Unit::Hundredths,
            }),
        );
        page.add(
            "till_queue_length",
            &labels,
            or_closed(Motion::Noise {
                spread: 5,
                unit: Unit::One,
            }),
        );
        page.add(
            "till_open",
            &labels,
            Motion::Constant(f64::from(u8::from(open))),
        );
        page.add(
            "till_printer_errors_total",
            &labels,
            Motion::Rare { one_in: 2_000 },
        );
        page.add(
            "till_last_boot_seconds",
            &labels,
            Motion::Constant(1_695_110_400.0),
        );
    }
    for shelf in 0..40 {
        let labels = [("shelf", format!("s{shelf:03}"))];
        let labels = [("shelf", labels[0].1.as_str())];
        page.add(
            "till_stock_items",
            &labels,
            Motion::Walk {
                step: 1,
                unit: Unit::One,
            },
        );
        page.add("till_stock_target_items", &labels, Motion::Constant(60.0));
    }
}
