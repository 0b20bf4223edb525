/**
 * Files of at most 500 lines, functions of at most 70, a README of at most 20 in every folder of
 * src. Method: TypeScript's own parser.
 */
import ts from 'typescript';
import { exists, filesUnder, lineOf, parse, read } from '../support/sources.js';

const maxFileLines = 500;
const maxFunctionLines = 70;
const maxReadmeLines = 20;

const sources = [...filesUnder('src', '.ts'), ...filesUnder('test', '.ts')];
const native = ['.cc', '.h']
  .flatMap(suffix => filesUnder('native', suffix))
  .filter(path => !path.includes('/build/'));

test('files', () => {
  const long = [...sources, ...native].filter(
    path => read(path).split('\n').length - 1 > maxFileLines,
  );
  expect(long).toEqual([]);
});

test('functions', () => {
  const long: string[] = [];
  for (const path of filesUnder('src', '.ts')) {
    const file = parse(path);
    const visit = (node: ts.Node): void => {
      if (ts.isFunctionLike(node) && 'body' in node && node.body) {
        const from = lineOf(file, node);
        const lines = file.getLineAndCharacterOfPosition(node.end).line + 2 - from;
        if (lines > maxFunctionLines)
          long.push(`${path}:${from} ${node.name?.getText(file) ?? '(anonymous)'}: ${lines} lines`);
      }
      ts.forEachChild(node, visit);
    };
    visit(file);
  }
  expect(long).toEqual([]);
});

test('a README for every folder of src', () => {
  const folders = [
    ...new Set(filesUnder('src', '.ts').map(path => path.split('/').slice(0, 2).join('/'))),
  ];
  const wrong = folders.flatMap(folder => {
    const path = `${folder}/README.md`;
    if (!exists(path)) return [`${path} is missing`];
    const lines = read(path).trimEnd().split('\n').length;
    return lines > maxReadmeLines ? [`${path}: ${lines} lines`] : [];
  });
  expect(wrong).toEqual([]);
});
