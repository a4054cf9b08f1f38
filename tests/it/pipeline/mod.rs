//! The invariants of a query.

mod filters;
mod hooks;
mod s1_nothing_before_the_first_event;
mod s2_slow_clients_slow_the_model;
mod s3_gone_clients_stop_the_model;
mod s4_entered_policies_are_settled_once;
mod s5_stalled_clients_hold_no_place;
mod s6_panics_are_settled;
mod s7_deadlines_cover_the_answer;
mod s8_places_are_counted_per_query;
