/** The commands of `colo`, by name. */
import { Completion } from './completion.js';
import { Doctor } from './doctor/doctor.js';
import { Failover } from './failover.js';
import { Hmp } from './hmp.js';
import { ImageBench } from './image/bench.js';
import { ImageCheck } from './image/check.js';
import { ImageCommit } from './image/commit.js';
import { ImageCompare, ImageConvert } from './image/convert.js';
import { ImageCreate } from './image/create.js';
import { ImageInfo, ImageSnapshot } from './image/info.js';
import { ImageResize } from './image/resize.js';
import { Init } from './init.js';
import { List } from './list.js';
import { Monitor } from './monitor.js';
import { NbdServe } from './nbd/serve.js';
import { Primary } from './primary.js';
import { Protect } from './protect.js';
import { Qmp } from './qmp.js';
import { Secondary } from './secondary.js';
import { Status } from './status.js';

export const commands = {
  primary: Primary,
  secondary: Secondary,
  monitor: Monitor,
  hmp: Hmp,
  qmp: Qmp,
  list: List,
  status: Status,
  init: Init,
  failover: Failover,
  protect: Protect,
  doctor: Doctor,
  completion: Completion,
  'image:create': ImageCreate,
  'image:info': ImageInfo,
  'image:check': ImageCheck,
  'image:convert': ImageConvert,
  'image:compare': ImageCompare,
  'image:commit': ImageCommit,
  'image:bench': ImageBench,
  'image:resize': ImageResize,
  'image:snapshot': ImageSnapshot,
  'nbd:serve': NbdServe,
};
