// Runs one scenario with @azure/storage-blob, as a customer's own script would; the answer is one line of JSON.
import { createHash, randomBytes } from "node:crypto";
import {
  ContainerClient, ContainerSASPermissions, StorageSharedKeyCredential, generateBlobSASQueryParameters,
} from "@azure/storage-blob";

const { scenario, url, size, key, container, version } = JSON.parse(process.argv[2]);
const options = { retryOptions: { maxTries: 1 } };
const sha256 = (data) => createHash("sha256").update(data).digest("hex");
const blockId = (number) => Buffer.from(String(number).padStart(6, "0")).toString("base64");

async function names(client) {
  const found = [];
  for await (const page of client.listBlobsFlat({ includeMetadata: true }).byPage({ maxPageSize: 2 }))
    for (const blob of page.segment.blobItems) found.push([blob.name, blob.properties.contentLength, blob.metadata || {}]);
  return found;
}

const scenarios = {
  async single() {
    const client = new ContainerClient(url, undefined, options), data = randomBytes(size);
    const blob = client.getBlockBlobClient("folder/from node ü.zip");
    await blob.uploadData(data, { metadata: { roles: "Compute" } });
    return { sha256: sha256(data), length: (await blob.getProperties()).contentLength };
  },
  async staged() {
    const client = new ContainerClient(url, undefined, options), data = randomBytes(size);
    const blob = client.getBlockBlobClient("staged.zip");
    await blob.uploadData(data, { blockSize: 1 << 20, maxSingleShotSize: 1 << 20, concurrency: 4 });
    const blocks = await blob.getBlockList("all");
    return { sha256: sha256(data), committed: blocks.committedBlocks.length };
  },
  async resumed() {
    const data = randomBytes(size), part = 1 << 20, count = Math.ceil(size / part);
    const piece = (number) => data.subarray(number * part, (number + 1) * part);
    const first = new ContainerClient(url, undefined, options).getBlockBlobClient("resumed.zip");
    for (let number = 0; number < count; number += 2) await first.stageBlock(blockId(number), piece(number), piece(number).length);
    const again = new ContainerClient(url, undefined, options).getBlockBlobClient("resumed.zip");
    const held = new Set((await again.getBlockList("uncommitted")).uncommittedBlocks.map((block) => block.name));
    let sent = 0;
    for (let number = 0; number < count; number++)
      if (!held.has(blockId(number))) { await again.stageBlock(blockId(number), piece(number), piece(number).length); sent++; }
    await again.commitBlockList([...Array(count).keys()].map(blockId));
    return { sha256: sha256(data), held: held.size, sent };
  },
  async list() {
    return { names: await names(new ContainerClient(url, undefined, options)) };
  },
  async refused() {
    const blob = new ContainerClient(url, undefined, options).getBlockBlobClient("staged.zip");
    const codes = {};
    for (const [name, attempt] of Object.entries({
      read: () => blob.download(),
      overwrite: () => blob.uploadData(Buffer.from("x")),
      delete: () => blob.delete(),
    })) {
      try { await attempt(); codes[name] = "done"; } catch (error) { codes[name] = error.code ?? error.details?.errorCode; }
    }
    return codes;
  },
  async sas() {
    const credential = new StorageSharedKeyCredential("casevault", key);
    const query = generateBlobSASQueryParameters({
      containerName: container, permissions: ContainerSASPermissions.parse("rcwl"), version,
      startsOn: new Date(Date.now() - 60_000), expiresOn: new Date(Date.now() + 3_600_000),
    }, credential);
    return { query: query.toString() };
  },
};
console.log(JSON.stringify(await scenarios[scenario]()));
