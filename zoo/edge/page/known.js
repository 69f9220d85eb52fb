// Three small files and the pixels that zoo/readers makes of them, by which a browser is tried before it answers.
//
// The JPEG has colours of half the size and is to be turned by EXIF; the PNG has a gamma, which is a display hint that
// nobody applies; the WebP is lossless. Pixels are base64 of rows of red, green and blue.

/** most: by how many levels a value may differ; two roundings of a JPEG's decoder are no other picture. */
export const KNOWN = [
  {
    form: "JPEG",
    most: 2,
    height: 12,
    width: 8,
    file:
      "/9j/4AAQSkZJRgABAQAAAQABAAD/4QAiRXhpZgAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAV" +
      "ExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09P" +
      "T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAAIAAwDASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAA" +
      "AAMF/8QAGxAAAQQDAAAAAAAAAAAAAAAAAAEDBSIEIzH/xAAUAQEAAAAAAAAAAAAAAAAAAAAE/8QAGxEAAgEFAAAAAAAAAAAAAAAAAAME" +
      "AgUSMVH/2gAMAwEAAhEDEQA/AJYUzyxtNTOtLACKYKeCbbFVjo//2Q==",
    pixels:
      "FzlfHEhhImBdInlWHJVIG689Hco6INo5IT1lJktmKWRiKn5cJplOJbNDJs0/Kt4/L0BsNVBuOGhsOIFjNZxVM7ZMNdFJOOFIQEJzRFF0" +
      "SGlySYNrRZ5eRLhTRdJPSeNPUkB8V1B8W2h5W4JwV5xjVrdaV9JWWuFWZUCDak+Eb2aBcIF5a51sabdjatFcbuJdekCNgFCOhWeLhYGC" +
      "gJx0frZrgNJmg+FnjD6SkU6VlmWSl4CKkpt8kbZzktBtluBtnj2co0ybqGOZqX6RpJmDorR6o850p952rj6itE6kuWWhuX+YtJqLs7WD" +
      "tNB8t998wEKtxFGuyWiryoOjxZ+WxLmMxtKGyuOIyESxzVSz0muw04aozqGbzbyRz9WN0+aN",
  },
  {
    form: "PNG",
    most: 0,
    height: 2,
    width: 3,
    file:
      "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAABGdBTUEAAYagMeiWXwAAAB1JREFUeNpjiG86dPP8a/7FigzXbzb92Cvg" +
      "uuMFAGxRCubCbLLOAAAAAElFTkSuQmCC",
    pixels:
      "X4LC2c/rD6Mh19mC+L0QRbjo",
  },
  {
    form: "WebP",
    most: 0,
    height: 2,
    width: 3,
    file:
      "UklGRkoAAABXRUJQVlA4TD0AAAAvAkAAAC9AFmDy7x9WyAkEEpOiBgSgGI4gwknuZQQBJAqFMfFIO0wz/9HxkJn50uAFBWkbsLh7yhbR" +
      "/7hmAA==",
    pixels:
      "X4LC2c/rD6Mh19mC+L0QRbjo",
  },
];
