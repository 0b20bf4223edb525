/** The commands of `colo`, by name. */
import { Completion } from './completion.js';
import { Doctor } from './doctor/doctor.js';
import { Hmp } from './hmp.js';
import { List } from './list.js';
import { Monitor } from './monitor.js';
import { Primary } from './primary.js';
import { Qmp } from './qmp.js';
import { Secondary } from './secondary.js';
import { Status } from './status.js';

export const commands = { primary: Primary, secondary: Secondary, monitor: Monitor, hmp: Hmp, qmp: Qmp, list: List, status: Status, doctor: Doctor, completion: Completion };
