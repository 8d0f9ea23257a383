// The agent of a library for Node.js: the protocol of protocol.go. `node agent.mjs NAME` drives the library of NAME.mjs.
import { createInterface } from "node:readline";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";

const library = await import(`./${process.argv[2]}.mjs`);
const maxConns = Number(process.env.PGMAXCONNS);
const pool = new pg.Pool({ max: maxConns });
let opened = false;
let calls = { jobs: [], at: [] };
let worker;

// now is in microseconds since 1970.
const now = () => Math.round((performance.timeOrigin + performance.now()) * 1000);

const newJob = (n) => ({ n, to: "user@example.com", body: "welcome" });

async function fill(r) {
  for (let first = 0; first < r.n; first += r.batch) {
    const jobs = [];
    for (let i = first; i < Math.min(first + r.batch, r.n); i++) {
      jobs.push(r.due ? { ...newJob(i), due: r.due + i * (r.every ?? 0) } : newJob(i));
    }
    await library.addMany(jobs);
  }
}

// addOne adds a job in a transaction, with or without a row of the application.
async function addOne(r, job) {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    if (r.row) {
      await client.query({
        name: "row",
        text: "INSERT INTO business.orders (customer, note) VALUES ($1, $2)",
        values: [job.to, job.body],
      });
    }
    await library.addIn(client, job);
    await client.query("COMMIT");
    client.release();
  } catch (err) {
    client.release(err);
    throw err;
  }
}

// clients runs a client r.clients times at once.
const clients = (r, client) => Promise.all(Array.from({ length: r.clients }, client));

async function add(r) {
  let n = 0;
  const began = now();
  await clients(r, async () => {
    while (now() < began + r.for) await addOne(r, newJob(++n));
  });
  return { n, took: now() - began };
}

async function pace(r) {
  const at = new Array(r.n).fill(0);
  let next = 0;
  const began = now();
  await clients(r, async () => {
    for (let i = next++; i < r.n; i = next++) {
      const wait = (began + (i * 1e6) / r.rate - now()) / 1000;
      if (wait > 0) await sleep(wait);
      await addOne(r, newJob(i));
      at[i] = now();
    }
  });
  return { at, took: now() - began };
}

function handled(job) {
  calls.jobs.push(job.n);
  calls.at.push(now());
}

function each(k) {
  const said = { jobs: [], at: [] };
  for (let i = k - 1; i < calls.at.length; i += k) {
    said.jobs.push(calls.jobs[i]);
    said.at.push(calls.at[i]);
  }
  return said;
}

async function answer(r) {
  if (!opened && r.do !== "hello" && r.do !== "migrate") {
    await library.open(pool, maxConns);
    opened = true;
  }
  switch (r.do) {
    case "hello":
      return { version: library.version, settings: library.settings };
    case "migrate":
      return await library.migrate(pool, maxConns);
    case "fill":
      return await fill(r);
    case "add":
      return await add(r);
    case "pace":
      return await pace(r);
    case "work": {
      calls = { jobs: [], at: [] };
      const at = [now()];
      worker = await library.work(r, handled);
      return { at };
    }
    case "handled":
      return { n: calls.at.length };
    case "calls":
      return each(r.every);
    case "settle":
    case "stop":
      return await worker.stop();
  }
  throw new Error("an agent does not know this word");
}

const used = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

await pool.query("SELECT 1");
for await (const line of createInterface({ input: process.stdin })) {
  const r = JSON.parse(line);
  let said;
  try {
    said = (await answer(r)) ?? {};
  } catch (err) {
    said = { error: `${r.do}: ${err.stack}` };
  }
  process.stdout.write(JSON.stringify({ ...said, cpu: used() }) + "\n");
}
process.exit(0);
