// pg-boss, with wake-ups by LISTEN, and large fetches that follow each other at once while they come back full.
import { PgBoss } from "pg-boss";
import { readFileSync } from "node:fs";

export const version = JSON.parse(
  readFileSync(new URL("./node_modules/pg-boss/package.json", import.meta.url)),
).version;

export const settings =
  "`useListenNotify`, and queues with `notify` and a `partition` of their own; throughput: `batchSize` 500, " +
  "`localConcurrency` 4, `burstWhenBatchFull`; latency: `batchSize` 100, `localConcurrency` 4; both with " +
  "`pollingIntervalSeconds` and `notifyPollingIntervalSeconds` 0.5, the least; 50 idle queues: with `notify`, all else " +
  "by default. Batches by `insert`, single tasks by `send` with `db`";

const least = { pollingIntervalSeconds: 0.5, notifyPollingIntervalSeconds: 0.5 };

// options are what work can be done with.
const options = {
  throughput: { batchSize: 500, localConcurrency: 4, burstWhenBatchFull: true, ...least },
  quickest: { batchSize: 100, localConcurrency: 4, burstWhenBatchFull: true, ...least },
  defaults: {},
};

let boss;

async function start(max, others) {
  const made = new PgBoss({ max, useListenNotify: true, ...others });
  made.on("error", (err) => console.error(err));
  return await made.start();
}

export async function migrate(pool, max) {
  const migrator = await start(max, { supervise: false, schedule: false });
  await migrator.createQueue("bench", { notify: true, partition: true });
  await migrator.stop({ graceful: false });
}

export async function open(pool, max) {
  boss = await start(max);
}

export async function addMany(jobs) {
  await boss.insert(
    "bench",
    jobs.map((job) => ({ data: job, ...(job.due ? { startAfter: new Date(job.due / 1000) } : {}) })),
  );
}

export async function addIn(client, job) {
  const db = { executeSql: (text, values) => client.query(text, values) };
  await boss.send("bench", job, { db });
}

export async function work(how, handled) {
  const names = ["bench"];
  if (how.mode === "defaults") {
    for (let i = 1; i < how.width; i++) {
      names.push(`idle${i}`);
      await boss.createQueue(`idle${i}`, { notify: true });
    }
  }
  for (const name of names) {
    await boss.work(name, options[how.mode], async (jobs) => {
      for (const job of jobs) handled(job.data);
    });
  }
  let stopped;
  return { stop: () => (stopped ??= Promise.all(names.map((name) => boss.offWork(name, { wait: true })))).then(() => {}) };
}
