// The client that the authorization server knows before it comes.

export const CLIENT_ID = 'desk';
/** Nobody listens there: the browser's way ends where it would be sent back. */
export const REDIRECT_URL = 'http://127.0.0.1:9/callback';
