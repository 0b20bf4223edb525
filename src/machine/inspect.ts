/**
 * `info qtree` and `info pci`: derived from the state declarations and the configuration spaces.
 */
import type { Device } from '../hw/device.js';
import { Cfg } from '../hw/pci/config-space.js';
import type { PluggedFunction } from '../hw/pci/function.js';
import type { DeviceInfo, PciInfo } from './contract.js';

const MAX_BYTES = 16;

export function deviceInfo(device: Device, where: string): DeviceInfo {
  device.beforeSave();
  const failure: [string, string][] =
    device.failure === undefined ? [] : [['failure', device.failure]];
  return {
    id: device.id,
    model: device.vmstate.name,
    where,
    properties: [...failure, ...flatten('', device.state)],
  };
}

function flatten(name: string, value: unknown): [string, string][] {
  if (value instanceof Uint8Array) return [[name, bytes(value)]];
  if (typeof value === 'number') return [[name, `0x${value.toString(16)}`]];
  if (typeof value === 'bigint') return [[name, `0x${value.toString(16)}`]];
  if (typeof value !== 'object' || value === null) return [[name, String(value)]];
  return Object.entries(value).flatMap(([key, inner]) =>
    flatten(name === '' ? key : `${name}.${key}`, inner),
  );
}

function bytes(value: Uint8Array): string {
  const hex = Buffer.from(value.subarray(0, MAX_BYTES)).toString('hex');
  return value.length > MAX_BYTES ? `${hex}... (${value.length} bytes)` : hex;
}

export function pciInfo(fn: PluggedFunction): PciInfo {
  return {
    bus: 0,
    slot: fn.slotNumber,
    function: fn.functionNumber,
    id: fn.id,
    description: fn.description,
    vendor: fn.configRead(Cfg.VENDOR, 2),
    device: fn.configRead(Cfg.DEVICE, 2),
    irqPin: fn.configRead(Cfg.INT_PIN, 1),
    irq: fn.configRead(Cfg.INT_LINE, 1),
    bars: fn.bars.map(bar => ({
      index: bar.index,
      type: 'ports' in bar ? 'io' : 'memory',
      address: fn.barAddress(bar.index),
      size: bar.size,
    })),
  };
}
