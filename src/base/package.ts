/** Where this package lies: the same distance from src/base, dist/base and dist/bundle. */
const root = new URL('../../', import.meta.url);

/** path: from the folder of package.json. */
export const packageUrl = (path: string): URL => new URL(path, root);
