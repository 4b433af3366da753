//! Every request at the next replica: nothing of a session is where it was a request ago.

use mcp_serve::test_util::Legacy;
use serde_json::json;

use super::{
    nginx::Nginx,
    stage::{Over, SOON, Stage, next},
};
use crate::conformance::{Done, run_against};

async fn conformance(over: Over, name: &str, revision: &str, passed_min: usize) -> Done {
    let stage = Stage::fixture(over).await;
    let nginx = Nginx::before(&stage).await;
    let url = format!("http://{}/mcp", nginx.address);
    run_against(&url, name, "--requirements", revision, passed_min).await?;
    let requests = nginx.requests(&stage);
    println!("requests at each replica: {requests:?}");
    let (least, most) = (requests.iter().min(), requests.iter().max());
    assert!(*most.unwrap() - *least.unwrap() <= 1, "{requests:?}");
    Ok(())
}

#[tokio::test]
async fn conformance_of_2025_11_25_holds_over_three_replicas() -> Done {
    conformance(Over::Memory, "three", "2025-11-25", 83).await
}

#[tokio::test]
async fn conformance_of_2025_11_25_holds_over_three_replicas_on_redis() -> Done {
    conformance(Over::Redis, "redis", "2025-11-25", 83).await
}

#[tokio::test]
async fn conformance_of_2026_07_28_holds_over_three_replicas() -> Done {
    conformance(Over::Memory, "three", "2026-07-28", 196).await
}

#[tokio::test]
async fn conformance_of_2026_07_28_holds_over_three_replicas_on_redis() -> Done {
    conformance(Over::Redis, "redis", "2026-07-28", 196).await
}

#[tokio::test]
async fn a_session_lives_while_each_request_is_at_another_replica() {
    each_request_at_another_replica(Over::Memory).await;
}

#[tokio::test]
async fn a_session_on_redis_lives_while_each_request_is_at_another_replica() {
    each_request_at_another_replica(Over::Redis).await;
}

async fn each_request_at_another_replica(over: Over) {
    let stage = Stage::fixture(over).await;
    let nginx = Nginx::before(&stage).await;
    let capabilities = json!({"elicitation": {}});
    let mut session =
        Legacy::initialize_with(nginx.address, "2025-11-25", capabilities, Vec::new())
            .await
            .unwrap();
    for _ in 0..20 {
        let answer = session.call("tools/list", json!({})).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    for round in 0..10 {
        let call = json!({"name": "test_elicitation", "arguments": {"message": "Who?"}});
        let mut stream = session.open("tools/call", call).await.unwrap();
        let opening = stream.next_event(SOON).await.event().id.unwrap();
        let question = next(&mut stream).await.json();
        drop(stream);
        let name = format!("name {round}");
        let content = json!({"username": name, "email": "e"});
        let answer = json!({"jsonrpc": "2.0", "id": question["id"],
            "result": {"action": "accept", "content": content}});
        assert_eq!(session.post(&answer).await.unwrap().status(), 202);
        let mut resumed = session.resume(Some(&opening)).await.unwrap();
        let events = resumed.rest(SOON).await;
        assert_eq!(events.len(), 2, "the question and the answer");
        assert!(events[1].data.contains(&name), "{events:?}");
    }
    assert_eq!(session.delete().await.unwrap(), 204);
    for _ in 0..3 {
        let answer = session.call("tools/list", json!({})).await.unwrap();
        assert_eq!(answer.status(), 404);
    }
}
