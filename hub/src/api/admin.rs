//! What changes the store by hand: deletions, rewriting parts without what is deleted, snapshots; and the ledger: edges that are gone for good. Off unless
//! `branchline.admin_api` says otherwise; who may is `branchline.admins`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tsdb::{SnapshotOf, StoreError};

use super::error::{ApiError, Kind};
use super::json::success_value;
use super::labels::range;
use super::params::Params;
use crate::federation::ledger::Forgotten;
use crate::state::HubState;

type Answer = Result<Response, ApiError>;

/// What all its paths begin with.
pub(super) const PATHS: &str = "/api/v1/admin/";

pub(crate) async fn delete_series(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    check_enabled(&state)?;
    let (selectors, range) = (params.matchers()?, range(&params)?);
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    daemon::blocking(move || {
        let mut selectors = selectors.iter();
        selectors.try_for_each(|matchers| state.store.delete(matchers, range).map(|_| ()))
    })
    .await
    .map_err(failed)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn clean_tombstones(State(state): State<Arc<HubState>>) -> Answer {
    check_enabled(&state)?;
    daemon::blocking(move || state.store.clean_tombstones())
        .await
        .map_err(failed)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn snapshot(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    check_enabled(&state)?;
    // The spellings of Go's ParseBool.
    let of = match params.get("skip_head") {
        None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => SnapshotOf::Everything,
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => SnapshotOf::Parts,
        Some(_) => return Err(ApiError::bad_parameter("skip_head", "give true or false")),
    };
    let now = state.clock.now();
    let name = daemon::blocking(move || state.store.take_snapshot(now, of))
        .await
        .map_err(failed)?;
    Ok(success_value(&json!({"name": name})))
}

/// An edge that will not come back: what it was, and what it held, is no longer anybody's question.
pub(crate) async fn forget_edge(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    check_enabled(&state)?;
    let (branch, edge) = (params.required("branch")?, params.required("edge")?);
    match state.ledger.forget(branch, edge) {
        Forgotten::Gone => Ok(StatusCode::NO_CONTENT.into_response()),
        Forgotten::Unknown => Err(ApiError::bad_parameter(
            "edge",
            format!("branch {branch:?} has no edge {edge:?} in the ledger"),
        )),
        Forgotten::Connected => Err(ApiError::bad_parameter(
            "edge",
            format!("edge {edge:?} is connected: stop it, or take its token away, first"),
        )),
    }
}

fn check_enabled(state: &HubState) -> Result<(), ApiError> {
    match state.loaded().admin_api {
        true => Ok(()),
        false => Err(ApiError::new(Kind::Unavailable, "admin APIs disabled")),
    }
}

fn failed(error: StoreError) -> ApiError {
    ApiError::new(Kind::Internal, error)
}
