// Who answers: "server" asks the server that the page came from; 'zoo export --web' writes "browser" in its place.
export const MODE = "server";
