"""Task API on FastAPI: the same as node/task-api.mjs, against the same sidecar and components."""
import hmac
import os
import uuid

import httpx
import uvicorn
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel, Field

SIDECAR = f"http://127.0.0.1:{os.environ.get('DAPR_HTTP_PORT', '3500')}/v1.0"
app = FastAPI()
client = httpx.AsyncClient(base_url=SIDECAR, timeout=10)


class NewTask(BaseModel):
    title: str = Field(min_length=1)


async def read_task(task_id: str) -> dict:
    reply = (await client.get(f"/state/statestore/{task_id}")).raise_for_status()
    if reply.status_code == 204:
        raise HTTPException(404, f"no task {task_id}")
    return reply.json()


async def save_task(task: dict) -> None:
    (await client.post("/state/statestore", json=[{"key": task["id"], "value": task}])).raise_for_status()


@app.post("/tasks", status_code=201)
async def create_task(new: NewTask) -> dict:
    task = {"id": str(uuid.uuid4()), "title": new.title, "status": "created"}
    await save_task(task)
    print(f"saved task {task['id']} \"{new.title}\" in the state store", flush=True)
    (await client.post("/publish/pubsub/task-created", json=task)).raise_for_status()
    print(f"published task-created for {task['id']}", flush=True)
    return task


@app.get("/tasks/{task_id}")
async def get_task(task_id: str) -> dict:
    return await read_task(task_id)


@app.post("/tasks/{task_id}/notified")
async def mark_notified(task_id: str, x_api_key: str = Header("")) -> dict:
    secret = (await client.get("/secrets/secretstore/notifications-api-key")).raise_for_status().json()
    if not hmac.compare_digest(x_api_key.encode(), secret["notifications-api-key"].encode()):
        raise HTTPException(401, "wrong x-api-key")
    task = await read_task(task_id) | {"status": "notified"}
    await save_task(task)
    print(f"task {task_id} is now notified", flush=True)
    return task


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("APP_PORT", "8000")), log_level="warning")
