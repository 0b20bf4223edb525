/**
 * Endpoint 0 of a device (USB 2.0, section 8.5.3): a request in eight bytes, data in one direction
 * or none, and a status the other way. What the host asks for is ready when the request is taken;
 * what it orders is done with the status, so that a new address counts from there on.
 */
import { blob, bytes, enum8, record } from '../../fields/field.js';
import { Pid, type UsbAnswer, USB_TAKEN } from './contract.js';
import { CONTROL_PACKET } from './descriptors.js';

const SETUP_BYTES = 8;
/** Of one transfer: more than any descriptor has, or any order needs. */
const MAX_DATA = 512;
const TO_HOST = 0x80;

const stages = ['idle', 'data-in', 'data-out', 'status-in', 'refused'] as const;

export const controlField = record({
  stage: enum8(stages),
  setup: bytes(SETUP_BYTES),
  /** What is still to be sent, or has come so far. */
  data: blob(MAX_DATA),
});
export type ControlState = ReturnType<typeof controlField.reset>;

export interface UsbRequest {
  /** bmRequestType and bRequest, as one number: 0x8006 asks for a descriptor. */
  readonly code: number;
  readonly value: number;
  readonly index: number;
  readonly length: number;
}

/** What a device makes of requests. */
export interface RequestTaker {
  /** undefined: it has no answer. */
  answer(request: UsbRequest): Uint8Array | undefined;
  /** False: it cannot. */
  obey(request: UsbRequest, data: Uint8Array): boolean;
}

const requestOf = ({ setup }: ControlState): UsbRequest => ({
  code: setup.readUInt16BE(0),
  value: setup.readUInt16LE(2),
  index: setup.readUInt16LE(4),
  length: setup.readUInt16LE(6),
});

const NONE = Buffer.alloc(0);

/** A packet on endpoint 0. data: what the host sends. */
export function controlPacket(
  s: ControlState,
  taker: RequestTaker,
  pid: number,
  data: Uint8Array,
): UsbAnswer {
  switch (pid) {
    case Pid.SETUP:
      return setUp(s, taker, data);
    case Pid.IN:
      return s.stage === 'data-in' ? nextPiece(s) : carryOut(s, taker);
    default:
      return s.stage === 'data-out' ? takePiece(s, data) : statusOut(s);
  }
}

/** It ends whatever was under way, and is never refused itself. */
function setUp(s: ControlState, taker: RequestTaker, data: Uint8Array): UsbAnswer {
  if (data.length !== SETUP_BYTES) return 'timeout';
  s.setup = Buffer.from(data);
  s.data = NONE;
  const request = requestOf(s);
  if ((data[0] & TO_HOST) !== 0 && request.length > 0) {
    const answer = taker.answer(request);
    if (answer) s.data = Buffer.from(answer.subarray(0, Math.min(request.length, MAX_DATA)));
    s.stage = answer ? 'data-in' : 'refused';
  } else if (request.length > MAX_DATA) s.stage = 'refused';
  else s.stage = request.length > 0 ? 'data-out' : 'status-in';
  return USB_TAKEN;
}

function nextPiece(s: ControlState): UsbAnswer {
  const piece = s.data.subarray(0, CONTROL_PACKET);
  s.data = Buffer.from(s.data.subarray(CONTROL_PACKET));
  return piece;
}

function takePiece(s: ControlState, data: Uint8Array): UsbAnswer {
  const { length } = requestOf(s);
  if (s.data.length + data.length > Math.min(length, MAX_DATA)) return refuse(s);
  s.data = Buffer.concat([s.data, data]);
  if (s.data.length === length) s.stage = 'status-in';
  return USB_TAKEN;
}

/** The host has all that it wants to have. */
function statusOut(s: ControlState): UsbAnswer {
  if (s.stage !== 'data-in') return refuse(s);
  s.stage = 'idle';
  s.data = NONE;
  return USB_TAKEN;
}

/** The status of an order: with it, the order is carried out. */
function carryOut(s: ControlState, taker: RequestTaker): UsbAnswer {
  if (s.stage !== 'status-in') return refuse(s);
  const { setup, data } = s;
  s.stage = 'idle';
  s.data = NONE;
  const toHost = (setup[0] & TO_HOST) !== 0;
  return toHost || taker.obey(requestOf(s), data) ? USB_TAKEN : refuse(s);
}

function refuse(s: ControlState): UsbAnswer {
  s.stage = 'refused';
  s.data = NONE;
  return 'stall';
}
