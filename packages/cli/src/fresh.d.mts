export declare const bundle: { readonly folder: string; readonly main: string; readonly stamp: string };
export declare function sourceStamp(): string;
export declare function hasFreshBundle(): boolean;
