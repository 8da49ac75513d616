// One action of @azure/storage-blob, as a customer's own script would do it: the task is the first argument (JSON), the
// answer one line of JSON. What the service refuses is told as {refused: its code}.
import { readFileSync } from "node:fs";
import {
  ContainerClient, ContainerSASPermissions, StorageSharedKeyCredential, generateBlobSASQueryParameters,
} from "@azure/storage-blob";

const task = JSON.parse(process.argv[2]);
const MIB = 1 << 20;
const retryOptions = { maxTries: task.tries ?? 1, retryDelayInMs: 50, maxRetryDelayInMs: 50 };
const container = () => new ContainerClient(task.url, undefined, { retryOptions });
const blob = () => container().getBlockBlobClient(task.name);
const blockId = (number) => Buffer.from(String(number).padStart(6, "0")).toString("base64");
const pieces = (data) => [...Array(Math.ceil(data.length / MIB)).keys()].map((n) => data.subarray(n * MIB, (n + 1) * MIB));

const actions = {
  async send() {
    await blob().uploadData(readFileSync(task.file), {
      ...(task.blocks ? { blockSize: MIB, maxSingleShotSize: MIB, concurrency: 4 } : {}),
      ...(task.metadata ? { metadata: task.metadata } : {}),
      ...(task.overwrite ? {} : { conditions: { ifNoneMatch: "*" } }),
      ...(task.structured ? { contentChecksumAlgorithm: "StorageCrc64" } : {}),
    });
    return { length: (await blob().getProperties()).contentLength };
  },
  async stage_some() {
    const parts = pieces(readFileSync(task.file));
    for (let n = 0; n < parts.length; n += 2) await blob().stageBlock(blockId(n), parts[n], parts[n].length);
    return {};
  },
  // From the list that the server gives to another client.
  async go_on() {
    const parts = pieces(readFileSync(task.file));
    const held = (await blob().getBlockList("uncommitted")).uncommittedBlocks.map((block) => block.name);
    for (let n = 0; n < parts.length; n++)
      if (!held.includes(blockId(n))) await blob().stageBlock(blockId(n), parts[n], parts[n].length);
    await blob().commitBlockList(parts.map((_, n) => blockId(n)));
    const { committedBlocks } = await blob().getBlockList("all");
    return { held: held.length, committed: committedBlocks.length };
  },
  // One block, structured; what went over the line is told by the request itself.
  async structured() {
    const data = readFileSync(task.file);
    const done = await blob().stageBlock(blockId(0), data, data.length, { contentChecksumAlgorithm: "StorageCrc64" });
    await blob().commitBlockList([blockId(0)]);
    return { sent: done._response.request.headers.get("x-ms-structured-body") };
  },
  async names() {
    const names = [];
    for await (const page of container().listBlobsFlat().byPage({ maxPageSize: 2 }))
      names.push(...page.segment.blobItems.map((item) => item.name));
    return { names };
  },
  async folders() {
    const names = [];
    for await (const item of container().listBlobsByHierarchy("/")) names.push(item.name);
    return { names };
  },
  async read() {
    await blob().download();
    return {};
  },
  async give_up() {
    await blob().stageBlock(blockId(0), "given up", 8);
    await blob().delete();
    return {};
  },
  async sas() {
    const query = generateBlobSASQueryParameters({
      containerName: task.container, permissions: ContainerSASPermissions.parse("rcwl"), version: task.version,
      startsOn: new Date(Date.now() - 60_000), expiresOn: new Date(Date.now() + 3_600_000),
    }, new StorageSharedKeyCredential("casevault", task.key));
    return { query: query.toString() };
  },
};
const answer = await actions[task.action]().catch((error) => ({ refused: error.code ?? error.details?.errorCode ?? String(error) }));
console.log(JSON.stringify(answer));
