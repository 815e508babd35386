//! The tables, as `migrations/` makes them and documents them.

#![expect(
    missing_docs,
    reason = "diesel's macro takes no docs; the migration has them"
)]

diesel::table! {
    meta (key) {
        key -> Text,
        value -> Text,
    }
}

diesel::table! {
    alerts (id) {
        id -> Binary,
        #[sql_name = "type"]
        kind -> Text,
        created_at -> BigInt,
        body -> Text,
    }
}

diesel::allow_tables_to_appear_in_same_query!(alerts, deliveries);

diesel::table! {
    speeches (id) {
        id -> Binary,
        status -> Text,
        idempotency_key -> Nullable<Text>,
        fingerprint -> Binary,
        reference -> Nullable<Text>,
        request -> Text,
        resolved_voice -> Text,
        language -> Text,
        characters -> Integer,
        text_bytes -> BigInt,
        callback_url -> Nullable<Text>,
        callback_origin -> Nullable<Text>,
        callback_target -> Nullable<Text>,
        callback_check -> Text,
        created_at -> BigInt,
        deadline_at -> BigInt,
        started_at -> Nullable<BigInt>,
        ended_at -> Nullable<BigInt>,
        attempt -> Integer,
        claim -> Integer,
        leased_by -> Nullable<Binary>,
        lost_leases -> Integer,
        error_code -> Nullable<Text>,
        error -> Nullable<Text>,
        file -> Nullable<Text>,
        audio -> Nullable<Text>,
        text -> Text,
        words -> Nullable<Text>,
        not_before -> Nullable<BigInt>,
        postponed -> Integer,
        client -> Text,
        is_long -> Bool,
    }
}

diesel::table! {
    tasks (id) {
        id -> Binary,
        status -> Text,
        idempotency_key -> Nullable<Text>,
        fingerprint -> Binary,
        reference -> Nullable<Text>,
        request -> Text,
        resolved_voice -> Nullable<Text>,
        language -> Nullable<Text>,
        characters -> Integer,
        text_bytes -> BigInt,
        callback_url -> Nullable<Text>,
        report_to -> Text,
        created_at -> BigInt,
        deadline_at -> BigInt,
        pull_at -> BigInt,
        started_at -> Nullable<BigInt>,
        ended_at -> Nullable<BigInt>,
        action -> Nullable<Text>,
        action_due_at -> Nullable<BigInt>,
        action_until -> Nullable<BigInt>,
        action_attempt -> Integer,
        hand_overs -> Integer,
        error_code -> Nullable<Text>,
        error -> Nullable<Text>,
        result -> Nullable<Text>,
        retry_of -> Nullable<Binary>,
        retried_as -> Nullable<Binary>,
        file -> Nullable<Text>,
        audio -> Nullable<Text>,
        text -> Text,
        words -> Nullable<Text>,
        client -> Text,
    }
}

diesel::table! {
    overtakes (client, created_at, id) {
        client -> Text,
        created_at -> BigInt,
        id -> Binary,
    }
}

diesel::table! {
    erasures (id) {
        id -> Binary,
        asked -> Bool,
        due_at -> BigInt,
        until -> BigInt,
        attempt -> Integer,
    }
}

diesel::table! {
    deliveries (id) {
        id -> Binary,
        subject_id -> Binary,
        #[sql_name = "type"]
        kind -> Text,
        url -> Text,
        origin -> Text,
        status -> Text,
        round -> Integer,
        attempt -> Integer,
        attempts -> Integer,
        next_attempt_at -> Nullable<BigInt>,
        created_at -> BigInt,
        ended_at -> Nullable<BigInt>,
        client -> Text,
    }
}

diesel::table! {
    events (id) {
        id -> BigInt,
        at -> BigInt,
        #[sql_name = "type"]
        kind -> Text,
        subject_id -> Binary,
        delivery_id -> Nullable<Binary>,
        from_status -> Nullable<Text>,
        to_status -> Nullable<Text>,
        reason -> Nullable<Text>,
        by -> Nullable<Text>,
        attempt -> Nullable<Text>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(speeches, deliveries);
diesel::allow_tables_to_appear_in_same_query!(tasks, deliveries);
diesel::allow_tables_to_appear_in_same_query!(speeches, events);
diesel::allow_tables_to_appear_in_same_query!(tasks, events);
