/** `ocf:colo:vm`: one action of a cluster, by the environment that it gives, to its exit code. */
import { existsSync } from 'node:fs';
import { asVmError, VmError } from '../../base/errors.js';
import { ownHost } from '../../host/node/own-host.js';
import { readPairFile } from '../pair/read.js';
import { backOf, localSide, parseSide } from '../pair/side.js';
import { Agent, Ocf, type OcfCode, type Request } from './agent.js';
import { ClusterSide, killStarted, pidfileOf } from './local.js';
import { type Definition, forgetStart, rememberStart, startedWith } from './started.js';
import { metaData } from './meta-data.js';
import { Pacemaker } from './pacemaker.js';

type Env = Readonly<Record<string, string | undefined>>;

const DEFAULT_MS = 60_000;
/** Of the cluster's time: to say why it was not enough. */
const REPORT_MS = 2000;

const USAGE = 'usage: vm {start|stop|monitor|promote|demote|notify|validate-all|meta-data}';

/** Writes to standard error what went wrong, as Pacemaker reads it. */
export async function ocfMain(action: string | undefined, env: Env): Promise<OcfCode> {
  try {
    return await perform(action, env);
  } catch (error) {
    const { message, options } = asVmError(error);
    const reason = [message, options.hint].filter(part => part !== undefined).join('. ');
    process.stderr.write(`ocf-exit-reason:${reason.replace(/\s*\n\s*/g, '; ')}\n`);
    return error instanceof Unfit ? error.code : Ocf.ERR_GENERIC;
  }
}

async function perform(action: string | undefined, env: Env): Promise<OcfCode> {
  switch (action) {
    case 'meta-data':
      process.stdout.write(metaData());
      return Ocf.SUCCESS;
    case 'usage':
    case 'help':
      process.stdout.write(`${USAGE}\n`);
      return Ocf.SUCCESS;
    case 'validate-all':
      await definitionOf(env);
      return Ocf.SUCCESS;
    case 'start':
    case 'stop':
    case 'monitor':
    case 'promote':
    case 'demote':
    case 'notify':
      return act(action, env);
    default:
      process.stderr.write(`${USAGE}\n`);
      return Ocf.ERR_UNIMPLEMENTED;
  }
}

type Action = 'start' | 'stop' | 'monitor' | 'promote' | 'demote' | 'notify';

async function act(action: Action, env: Env): Promise<OcfCode> {
  const instance = env['OCF_RESOURCE_INSTANCE'] ?? 'vm';
  const pidfile = pidfileOf(instance);
  const path = env['OCF_RESKEY_file'];
  let started = startedWith(pidfile);
  if (action === 'start') {
    started ??= await definitionOf(env);
    rememberStart(pidfile, started);
  } else if (!started && action === 'stop') {
    killStarted(pidfile);
    return Ocf.SUCCESS;
  } else if (!started && action === 'monitor' && path !== undefined && !existsSync(path))
    return Ocf.NOT_RUNNING;
  const { file, side } = started ?? (await definitionOf(env));
  const givenMs = Number(env['OCF_RESKEY_CRM_meta_timeout']) || DEFAULT_MS;
  const end = performance.now() + Math.max(givenMs - REPORT_MS, REPORT_MS);
  const leftMs = () => end - performance.now();
  const log = env['OCF_RESKEY_log'] ?? `/var/log/colo-${file.pair.name}.log`;
  const node = env['OCF_RESKEY_CRM_meta_on_node'] ?? ownHost.hostname;
  const agent = new Agent(
    new ClusterSide({ file, side, log, pidfile, leftMs }),
    new Pacemaker(instance, node),
    requestOf(env, leftMs),
  );
  const code = await agent[action]();
  if (action === 'stop') forgetStart(pidfile);
  return code;
}

function requestOf(env: Env, leftMs: () => number): Request {
  const meta = (name: string) => env[`OCF_RESKEY_CRM_meta_${name}`];
  const [type, operation] = [meta('notify_type'), meta('notify_operation')];
  return {
    promoted: ['Promoted', 'Master'].includes(meta('role') ?? ''),
    notice: type === undefined || operation === undefined ? undefined : { type, operation },
    mayWait: () => leftMs() > 0,
    sleep: ms => new Promise(resolve => setTimeout(resolve, ms)),
    note: line => void process.stderr.write(`${line}\n`),
  };
}

/** What is wrong with how the resource is configured, or with this node. */
class Unfit extends VmError {
  constructor(
    readonly code: OcfCode,
    message: string,
    hint?: string,
  ) {
    super(message, { hint });
  }
}

async function definitionOf(env: Env): Promise<Definition> {
  const path = env['OCF_RESKEY_file'];
  if (path === undefined || path === '')
    throw new Unfit(Ocf.ERR_CONFIGURED, "the parameter 'file' is missing: the pair definition");
  if (!existsSync(path)) throw new Unfit(Ocf.ERR_INSTALLED, `${path} is not on this node`);
  try {
    const file = readPairFile(path, false);
    backOf(file); // either role may come to this side
    if (file.pair.arbiter !== undefined)
      throw new VmError(`${path}: 'arbiter': here the cluster decides, and nobody else may`, {
        hint: 'Take it out of the definition on both nodes.',
      });
    const most = Number(env['OCF_RESKEY_CRM_meta_promoted_max'] ?? 1);
    if (most > 1) throw new VmError(`promoted-max=${most}: one instance has the guest`);
    const given = env['OCF_RESKEY_side'];
    const side = given ? parseSide(given) : await localSide(file, ownHost);
    return { file, side };
  } catch (error) {
    const { message, options } = asVmError(error);
    throw new Unfit(Ocf.ERR_CONFIGURED, message, options.hint);
  }
}
