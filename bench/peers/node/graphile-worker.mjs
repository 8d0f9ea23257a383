// graphile-worker, with the settings of its page "Performance".
import { Logger, makeWorkerUtils, run, runMigrations } from "graphile-worker";
import { readFileSync } from "node:fs";

export const version = JSON.parse(
  readFileSync(new URL("./node_modules/graphile-worker/package.json", import.meta.url)),
).version;

export const settings =
  "as its page on performance: `concurrentJobs` 24, `localQueue.size` 500, `completeJobBatchDelay` 0, " +
  "`failJobBatchDelay` 0; latency and due tasks: the same without the local queue and the batches, and " +
  "`pollInterval` 100 ms; 50 idle queues: 50 kinds of task in one worker, all by default. " +
  "Batches by `addJobs`, single tasks by `add_job` in SQL";

const logger = new Logger(() => () => {});

// presets are what work can be done with.
const presets = {
  throughput: {
    concurrentJobs: 24,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  },
  quickest: { concurrentJobs: 24, pollInterval: 100 },
  defaults: {},
};

let pool;
let utils;

export const migrate = (pgPool) => runMigrations({ pgPool, logger });

export async function open(pgPool) {
  pool = pgPool;
  utils = await makeWorkerUtils({ pgPool, logger });
}

export async function addMany(jobs) {
  await utils.addJobs(
    jobs.map((job) => ({
      identifier: "bench",
      payload: job,
      ...(job.due ? { runAt: new Date(job.due / 1000) } : {}),
    })),
  );
}

export async function addIn(client, job) {
  await client.query({
    name: "add_job",
    text: "SELECT graphile_worker.add_job('bench', $1::json)",
    values: [JSON.stringify(job)],
  });
}

export async function work(how, handled) {
  const taskList = {
    bench: (job) => {
      handled(job);
    },
  };
  if (how.mode === "defaults") {
    for (let i = 1; i < how.width; i++) taskList[`idle${i}`] = () => {};
  }
  const runner = await run({
    pgPool: pool,
    logger,
    taskList,
    noHandleSignals: true,
    preset: { worker: presets[how.mode] },
  });
  let stopped;
  return { stop: () => (stopped ??= runner.stop()) };
}
